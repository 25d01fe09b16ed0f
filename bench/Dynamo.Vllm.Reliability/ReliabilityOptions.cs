namespace Dynamo.Vllm.Reliability;

/// <param name="Stacks">One after the other.</param>
/// <param name="Faults">Each on a fleet of its own.</param>
/// <param name="Streams">Clients, each with one request after the other.</param>
/// <param name="Tokens">Of an answer.</param>
/// <param name="Load">How long clients begin requests.</param>
/// <param name="Freeze">How long what is frozen stays so.</param>
internal sealed record ReliabilityOptions(
    IReadOnlyList<Stack> Stacks,
    IReadOnlyList<Fault> Faults,
    int Streams,
    int Tokens,
    TimeSpan Load,
    TimeSpan Freeze
);
