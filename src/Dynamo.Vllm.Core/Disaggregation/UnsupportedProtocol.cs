using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Core.Disaggregation;

/// <summary>A connector that cannot hand over: the worker starts, and each prefill request is told why (cli.md, 4.1).</summary>
internal sealed class UnsupportedProtocol : IKvConnectorProtocol
{
    private readonly string _problem;

    public UnsupportedProtocol(string problem) => _problem = problem;

    public IKvHandOver Begin() => throw new RequestFailedException(DynamoError.InvalidArgumentPrivate($"ValueError: {_problem}"));
}
