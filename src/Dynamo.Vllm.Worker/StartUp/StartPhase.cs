namespace Dynamo.Vllm.Worker.StartUp;

/// <summary>A part of the start: a stage, or what vLLM does within the stage "engine".</summary>
/// <param name="Name">For people, and as a label.</param>
/// <param name="Since">Timestamp of its begin.</param>
/// <param name="IsLong">It takes seconds as a rule, so its begin is told; another one is told of only when it does.</param>
internal readonly record struct StartPhase(string Name, long Since, bool IsLong);
