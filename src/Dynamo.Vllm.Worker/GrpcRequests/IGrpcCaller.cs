using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Worker.GrpcRequests;

/// <summary>Whom a request is answered, of whichever contract.</summary>
internal interface IGrpcCaller : ICallHome
{
    /// <summary>What the caller is to be told in place of more; null for nothing.</summary>
    DynamoError? Error { get; }

    /// <summary>The answer came to its end.</summary>
    bool IsComplete { get; }

    /// <summary>Of a request that was read; waits while the caller does not read.</summary>
    ValueTask WriteAsync(EngineOutput output);
}
