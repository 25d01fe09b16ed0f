using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Worker.GrpcRequests;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary>The caller of one request, who is told of the prompt first.</summary>
internal sealed class NativeCaller : GrpcCaller<GenerateResponse>
{
    private ResponseBuilder? _answer;
    private bool _hasBegun;

    /// <param name="write">Takes one, and whether another follows at once.</param>
    /// <param name="left">Fires when the caller is gone.</param>
    public NativeCaller(Func<GenerateResponse, bool, Task> write, CancellationToken left)
        : base(write, left) { }

    /// <summary>The request was read: this is what its answer is like.</summary>
    public void Expect(ResponseBuilder answer) => _answer = answer;

    public override async ValueTask WriteAsync(EngineOutput output)
    {
        var answer = _answer!; // an output is one of a request that was read
        var built = answer.Build(output);
        if (!_hasBegun)
        {
            _hasBegun = true;
            await SendAsync(new GenerateResponse { PromptInfo = answer.BuildPrompt(output) }, hasMore: built is not null)
                .ConfigureAwait(false);
        }

        if (built is not null)
        {
            await SendAsync(new GenerateResponse { Outputs = built }, hasMore: false).ConfigureAwait(false);
        }
    }
}
