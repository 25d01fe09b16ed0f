using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Dynamo.Vllm.Worker.GrpcRequests;

namespace Dynamo.Vllm.Worker.GatewayGrpc;

/// <summary>The caller of a request, who hears of each output, and at the end of a choice of its last one again.</summary>
internal sealed class StreamCaller : GatewayCaller
{
    public StreamCaller(Func<GenerateResponse, bool, Task> write, CancellationToken left)
        : base(write, left) { }

    public override async ValueTask WriteAsync(EngineOutput output)
    {
        if (output.Tokens.IsEmpty && output.Finish == FinishReason.None && output.PromptLogprobsJson is null)
        {
            return; // text that waited for its end, which nobody here reads
        }

        var chunk = Answer.Chunk(output);
        var complete = output.Finish == FinishReason.None ? null : Answer.Complete(chunk, output);
        await SendAsync(new GenerateResponse { Chunk = chunk }, hasMore: complete is not null).ConfigureAwait(false);
        if (complete is not null)
        {
            await SendAsync(new GenerateResponse { Complete = complete }, hasMore: false).ConfigureAwait(false);
        }
    }
}
