using System.Globalization;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Dynamo.Vllm.Worker.GrpcRequests;
using EngineLoad = Dynamo.Vllm.Worker.GatewayGrpc.Contract.EngineLoad;
using LoadOfRank = Dynamo.Vllm.Core.Engines.EngineLoad;

namespace Dynamo.Vllm.Worker.GatewayGrpc;

/// <summary>The engine's load in the words of the contract. What the engine does not tell with its steps is left out.</summary>
internal static class GatewayLoads
{
    /// <param name="serving">The worker.</param>
    /// <param name="rank">The only one that is asked for; null for all.</param>
    /// <param name="now">What time it is.</param>
    public static GetLoadsResponse All(GrpcServing serving, int? rank, DateTimeOffset now)
    {
        var response = new GetLoadsResponse
        {
            Timestamp = now.ToString("yyyy-MM-ddTHH:mm:ss.ffffffzzz", CultureInfo.InvariantCulture),
            Version = serving.Engine.Description.EngineVersion,
        };
        response.Loads.AddRange(
            serving.Loads.Latest.Where(load => rank is null || load.Rank == rank).Select(load => Describe(serving.Engine.Description, load))
        );
        response.DpRankCount = response.Loads.Count;
        return response;
    }

    public static EngineLoad Record(EngineDescription engine, LoadOfRank load) =>
        new()
        {
            RunningRequests = (uint)load.Running,
            WaitingRequests = (uint)load.Waiting,
            TokenUsage = load.KvCacheUsage,
            MaxRunningRequests = (uint)engine.MaxNumSeqs,
            NumUsedTokens = UsedTokens(engine, load),
            MaxTotalNumTokens = TotalTokens(engine),
        };

    private static SchedulerLoad Describe(EngineDescription engine, LoadOfRank load) =>
        new()
        {
            DpRank = load.Rank,
            NumRunningReqs = load.Running,
            NumWaitingReqs = load.Waiting,
            NumTotalReqs = load.Running + load.Waiting,
            NumUsedTokens = UsedTokens(engine, load),
            MaxTotalNumTokens = TotalTokens(engine),
            TokenUsage = load.KvCacheUsage,
            MaxRunningRequests = engine.MaxNumSeqs,
        };

    private static int TotalTokens(EngineDescription engine) => (int)Math.Min(int.MaxValue, engine.BlocksPerRank * engine.BlockSize);

    /// <summary>One block is never used, and not counted by the engine when it tells which share is.</summary>
    private static int UsedTokens(EngineDescription engine, LoadOfRank load)
    {
        var usable = Math.Max(0, engine.BlocksPerRank - 1);
        return (int)Math.Min(int.MaxValue, Math.Round(load.KvCacheUsage * usable) * engine.BlockSize);
    }
}
