namespace Dynamo.Vllm.Worker.StartUp;

/// <summary>How far the start is, for the status page.</summary>
/// <param name="Phase">A stage, or what vLLM does within the stage "engine".</param>
/// <param name="Seconds">Since it began.</param>
/// <param name="Detail">What is known of how far it is; null where nothing is.</param>
internal sealed record StartState(string Phase, double Seconds, string? Detail);
