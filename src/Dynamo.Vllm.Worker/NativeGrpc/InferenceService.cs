using Dynamo.Vllm.Core.Generate;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;
using Grpc.Core;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary><c>vllm.Inference</c>: requests with text or token ids in, text and token ids out.</summary>
internal sealed class InferenceService : Inference.InferenceBase
{
    /// <summary>What is handed on with a request: its place in a trace, and its name in other logs.</summary>
    private static readonly string[] Headers = ["traceparent", "tracestate", "x-request-id", "request-id"];

    private static readonly WriteOptions Unflushed = new(WriteFlags.BufferHint);

    private readonly NativeIntake _intake;

    public InferenceService(NativeIntake intake) => _intake = intake;

    public override async Task<GenerateResponse> Generate(GenerateRequest request, ServerCallContext context)
    {
        var answer = new WholeAnswer();
        await ServeAsync(request, context, (response, _) => answer.AddAsync(response)).ConfigureAwait(false);
        return answer.Finish();
    }

    public override Task GenerateStream(
        GenerateRequest request,
        IServerStreamWriter<GenerateResponse> responseStream,
        ServerCallContext context
    ) =>
        ServeAsync(
            request,
            context,
            (response, hasMore) =>
            {
                responseStream.WriteOptions = hasMore ? Unflushed : null;
                return responseStream.WriteAsync(response);
            }
        );

    /// <returns>Once the last message has been written: a stream that ends without it would be a broken one.</returns>
    private async Task ServeAsync(GenerateRequest request, ServerCallContext call, Func<GenerateResponse, bool, Task> write)
    {
        var serving = _intake.Enter();
        if (request.LoraName.Length > 0 && serving.Adapters is null)
        {
            throw AdapterCalls.NotEnabled();
        }

        var id = request.RequestId.Length > 0 ? request.RequestId : Guid.NewGuid().ToString();
        var context = new RequestContext(id, PayloadCodec.Json, body: default, ReadHeaders(call.RequestHeaders));
        var caller = new NativeCaller(write, call.CancellationToken);
        await using (caller.ConfigureAwait(false))
        {
            var handler = new OutputHandler(
                serving.Engine,
                serving.Options,
                serving.Adapters,
                () =>
                {
                    var read = Read(request, id, call, serving);
                    caller.Expect(new ResponseBuilder(read));
                    return (read.Request, read.Text);
                },
                caller.WriteAsync
            );
            var isAdmitted = await serving
                .Dispatcher.TryServeAsync(serving.Generate, handler, context, caller, request.CalculateSize())
                .ConfigureAwait(false);
            Finish(serving, caller, call, isAdmitted);
        }
    }

    private static NativeRequest Read(GenerateRequest request, string id, ServerCallContext call, NativeServing serving) =>
        NativeRequestReader.Read(
            request,
            id,
            call.RequestHeaders.GetValue(NativeRequestReader.RankHeader),
            serving.Engine.Description,
            serving.Options.BaseModelNames,
            serving.Adapters
        );

    private static void Finish(NativeServing serving, NativeCaller caller, ServerCallContext call, bool isAdmitted)
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
