namespace Dynamo.Vllm.Core.Engines;

/// <summary>Load of one rank after one engine step.</summary>
/// <param name="Rank">Index that the engine gave the rank, from 0.</param>
/// <param name="KvCacheUsage">Share of KV blocks in use, 0 to 1.</param>
/// <param name="Running">Requests in the batch.</param>
/// <param name="Waiting">Requests in the engine's queue.</param>
public readonly record struct EngineLoad(int Rank, double KvCacheUsage, int Running, int Waiting);
