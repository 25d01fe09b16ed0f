namespace Dynamo.Vllm.Core.Requests;

/// <summary>How many requests run and how many may wait (runtime.md, 3.2). One more is refused as overload.</summary>
public sealed record AdmissionLimits(int Running = 10_000, int Queued = 40_000);
