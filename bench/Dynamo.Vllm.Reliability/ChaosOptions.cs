namespace Dynamo.Vllm.Reliability;

/// <param name="Requests">How many are sent at least.</param>
/// <param name="Streams">Clients, each with one request after the other.</param>
/// <param name="Tokens">Of an answer.</param>
/// <param name="Workers">Of each role.</param>
/// <param name="IsDisaggregated">Prefill and decode workers instead of aggregated ones.</param>
/// <param name="Faults">One of them at a time, by chance.</param>
/// <param name="Seed">Of the faults and their lengths.</param>
internal sealed record ChaosOptions(
    int Requests,
    int Streams,
    int Tokens,
    int Workers,
    bool IsDisaggregated,
    IReadOnlyList<ChaosFault> Faults,
    int Seed
);
