namespace Dynamo.Vllm.Load;

/// <summary>Shape of the load.</summary>
/// <param name="Rounds">Alternating rounds of both workers.</param>
/// <param name="Streams">Requests in flight.</param>
/// <param name="Requests">Requests in a round.</param>
/// <param name="Tokens">Tokens a request generates.</param>
/// <param name="IsSimulated">Only our worker, on the simulated engine: no vLLM needed.</param>
internal sealed record LoadOptions(int Rounds, int Streams, int Requests, int Tokens, bool IsSimulated);
