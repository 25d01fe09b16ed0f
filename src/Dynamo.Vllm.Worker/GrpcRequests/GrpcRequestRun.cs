using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Generate;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Requests;
using Google.Protobuf;
using Grpc.Core;

namespace Dynamo.Vllm.Worker.GrpcRequests;

/// <summary>The way of a request of whichever contract through the worker: limits, books and drain are those of <c>generate</c>.</summary>
internal static class GrpcRequestRun
{
    /// <summary>What is handed on with a request: its place in a trace, and its name in other logs.</summary>
    private static readonly string[] Headers = ["traceparent", "tracestate", "x-request-id", "request-id"];

    private static readonly WriteOptions Unflushed = new(WriteFlags.BufferHint);

    /// <summary>An id that the caller gave, or one that is made for the request.</summary>
    public static string IdOf(string given) => given.Length > 0 ? given : Guid.NewGuid().ToString();

    /// <summary>Writes messages, and sends them at once unless another follows.</summary>
    public static Func<TMessage, bool, Task> WriterTo<TMessage>(IServerStreamWriter<TMessage> stream) =>
        (response, hasMore) =>
        {
            stream.WriteOptions = hasMore ? Unflushed : null;
            return stream.WriteAsync(response);
        };

    /// <param name="serving">The worker.</param>
    /// <param name="id">Of the request.</param>
    /// <param name="request">As it came.</param>
    /// <param name="call">Who made it.</param>
    /// <param name="caller">The same, as one who is answered; is disposed of.</param>
    /// <param name="read">The request in the worker's form. Within the handler, so that a mistake is counted where mistakes are.</param>
    /// <returns>Once the last message has been written: a stream that ends without it would be a broken one.</returns>
    public static async Task ServeAsync(
        GrpcServing serving,
        string id,
        IMessage request,
        ServerCallContext call,
        IGrpcCaller caller,
        Func<(PreprocessedRequest Request, EngineText? Text)> read
    )
    {
        var context = new RequestContext(id, PayloadCodec.Json, body: default, ReadHeaders(call.RequestHeaders));
        await using (caller.ConfigureAwait(false))
        {
            var handler = new OutputHandler(serving.Engine, serving.Options, serving.Adapters, read, caller.WriteAsync);
            var isAdmitted = await serving
                .Dispatcher.TryServeAsync(serving.Generate, handler, context, caller, request.CalculateSize())
                .ConfigureAwait(false);
            Finish(serving, caller, call, isAdmitted);
        }
    }

    private static void Finish(GrpcServing serving, IGrpcCaller caller, ServerCallContext call, bool isAdmitted)
    {
        if (!isAdmitted)
        {
            throw new RpcException(new Status(StatusCode.ResourceExhausted, "too many requests run and wait on this worker"));
        }

        if (call.CancellationToken.IsCancellationRequested)
        {
            throw new RpcException(new Status(StatusCode.Cancelled, "the caller has left"));
        }

        if (caller.Error is { } error)
        {
            throw new RpcException(GrpcStatuses.Of(error, serving.Engine.Died.IsCompleted));
        }

        if (!caller.IsComplete)
        {
            throw new RpcException(new Status(StatusCode.Internal, "the request ended without an answer; the worker's log says why"));
        }
    }

    private static Dictionary<string, string> ReadHeaders(Metadata metadata) =>
        metadata
            .Where(entry => !entry.IsBinary && Headers.Contains(entry.Key))
            .DistinctBy(entry => entry.Key)
            .ToDictionary(entry => entry.Key, entry => entry.Value);
}
