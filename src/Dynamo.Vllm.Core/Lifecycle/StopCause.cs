namespace Dynamo.Vllm.Core.Lifecycle;

/// <summary>Why the worker stops.</summary>
/// <param name="Kind">Decides what the stages still do for those they serve.</param>
/// <param name="Reason">For the log.</param>
public readonly record struct StopCause(StopKind Kind, string Reason);
