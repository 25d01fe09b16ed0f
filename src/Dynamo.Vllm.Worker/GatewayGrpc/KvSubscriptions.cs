using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Dynamo.Vllm.Worker.GrpcRequests;
using Grpc.Core;

namespace Dynamo.Vllm.Worker.GatewayGrpc;

/// <summary>Those who listen to the engine's cache events over gRPC. Thread-safe.</summary>
internal sealed class KvSubscriptions
{
    /// <summary>Each is a connection to every rank's publisher. A gateway has one.</summary>
    private const int CountMax = 32;

    private readonly GrpcIntake _intake;
    private readonly TimeProvider _time;
    private int _count;

    public KvSubscriptions(GrpcIntake intake, TimeProvider time)
    {
        _intake = intake;
        _time = time;
    }

    /// <returns>When the caller has left.</returns>
    /// <exception cref="RpcException">There is nothing to hear, no more of it, or a part of it was lost.</exception>
    public async Task ServeAsync(
        GrpcServing serving,
        SubscribeKvEventsRequest request,
        IServerStreamWriter<KvEventBatch> stream,
        ServerCallContext call
    )
    {
        if (serving.Engine.Description.KvEventsEndpoint is not { } endpoint)
        {
            throw new RpcException(
                new Status(
                    StatusCode.Unimplemented,
                    "KV cache events are not enabled; start the worker with --kv-events-config "
                        + """'{"enable_kv_cache_events": true, "publisher": "zmq"}'"""
                )
            );
        }

        if (request.StartSequenceNumber != 0)
        {
            throw new RpcException(
                new Status(
                    StatusCode.OutOfRange,
                    $"start_sequence_number must be 0, got {request.StartSequenceNumber}: events are not replayed; subscribe with 0 and "
                        + "rebuild"
                )
            );
        }

        try
        {
            if (Interlocked.Increment(ref _count) > CountMax)
            {
                throw new RpcException(
                    new Status(StatusCode.ResourceExhausted, $"{CountMax} callers listen to KV events already, which is the limit")
                );
            }

            // At once: a gateway that does not hear it within 2 s takes the worker for one that cannot be reached.
            await call.WriteResponseHeadersAsync([]).ConfigureAwait(false);
            using var over = CancellationTokenSource.CreateLinkedTokenSource(call.CancellationToken, _intake.Closed);
            using var subscription = new KvSubscription(
                serving.Engine.Description,
                serving.Loads,
                serving.Events,
                request.LoadRecordsBeforeFirstBatch,
                stream.WriteAsync,
                _time
            );
            await subscription.RunAsync(endpoint, over.Token).ConfigureAwait(false);
        }
        finally
        {
            Interlocked.Decrement(ref _count);
        }

        if (!call.CancellationToken.IsCancellationRequested)
        {
            throw GrpcIntake.Stopping();
        }
    }
}
