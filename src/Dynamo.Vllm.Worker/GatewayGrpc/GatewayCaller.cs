using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Dynamo.Vllm.Worker.GrpcRequests;

namespace Dynamo.Vllm.Worker.GatewayGrpc;

/// <summary>The caller of one request of the contract.</summary>
internal abstract class GatewayCaller : GrpcCaller<GenerateResponse>
{
    private AnswerBuilder? _answer;

    protected GatewayCaller(Func<GenerateResponse, bool, Task> write, CancellationToken left)
        : base(write, left) { }

    /// <summary>An output is one of a request that was read.</summary>
    protected AnswerBuilder Answer => _answer!;

    /// <summary>The request was read: this is what its answer is like.</summary>
    public void Expect(AnswerBuilder answer) => _answer = answer;
}
