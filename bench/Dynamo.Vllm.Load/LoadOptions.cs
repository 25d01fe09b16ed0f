namespace Dynamo.Vllm.Load;

/// <summary>Shape of the load.</summary>
/// <param name="Rounds">Alternating rounds of both workers, for each number of streams.</param>
/// <param name="Streams">Requests in flight, one after the other.</param>
/// <param name="Requests">Requests in a round; null: four for each stream.</param>
/// <param name="Tokens">Tokens a request generates.</param>
/// <param name="PromptWords">Words of a prompt, about two tokens each.</param>
/// <param name="IsDisaggregated">A prefill and a decode worker of either kind in place of one that does both.</param>
/// <param name="IsSimulated">Only our worker, on the simulated engine: no vLLM needed.</param>
/// <param name="EngineArguments">Of both workers, in place of the tiny model on the CPU; empty for that.</param>
internal sealed record LoadOptions(
    int Rounds,
    IReadOnlyList<int> Streams,
    int? Requests,
    int Tokens,
    int PromptWords,
    bool IsDisaggregated,
    bool IsSimulated,
    IReadOnlyList<string> EngineArguments
);
