using Dynamo.Vllm.Worker.GrpcRequests;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;
using Grpc.Core;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary><c>vllm.Inference</c>: requests with text or token ids in, text and token ids out.</summary>
internal sealed class InferenceService : Inference.InferenceBase
{
    private readonly GrpcIntake _intake;

    public InferenceService(GrpcIntake intake) => _intake = intake;

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
    ) => ServeAsync(request, context, GrpcRequestRun.WriterTo(responseStream));

    private async Task ServeAsync(GenerateRequest request, ServerCallContext call, Func<GenerateResponse, bool, Task> write)
    {
        var serving = _intake.Enter();
        if (request.LoraName.Length > 0 && serving.Adapters is null)
        {
            throw AdapterCalls.NotEnabled();
        }

        var id = GrpcRequestRun.IdOf(request.RequestId);
        var caller = new NativeCaller(write, call.CancellationToken);
        await GrpcRequestRun
            .ServeAsync(
                serving,
                id,
                request,
                call,
                caller,
                () =>
                {
                    var read = Read(request, id, call, serving);
                    caller.Expect(new ResponseBuilder(read));
                    return (read.Request, read.Text);
                }
            )
            .ConfigureAwait(false);
    }

    private static NativeRequest Read(GenerateRequest request, string id, ServerCallContext call, GrpcServing serving) =>
        NativeRequestReader.Read(
            request,
            id,
            call.RequestHeaders.GetValue(NativeRequestReader.RankHeader),
            serving.Engine.Description,
            serving.Options.BaseModelNames,
            serving.Adapters
        );
}
