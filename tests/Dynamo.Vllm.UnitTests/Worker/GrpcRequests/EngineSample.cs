using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.UnitTests.Worker.GrpcRequests;

/// <summary>An engine of two ranks, the third and fourth of several.</summary>
internal static class EngineSample
{
    public static EngineDescription TwoRanks { get; } =
        new()
        {
            EngineVersion = "fake",
            Model = "fake",
            MaxModelLength = 100,
            BlockSize = 16,
            KvEventBlockSize = 16,
            MaxNumSeqs = 8,
            MaxNumBatchedTokens = 256,
            DataParallelStart = 2,
            DataParallelSize = 2,
        };
}
