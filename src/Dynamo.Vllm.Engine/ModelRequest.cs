namespace Dynamo.Vllm.Engine;

/// <summary>A model of a hub, to be brought into the hub's cache.</summary>
/// <param name="Model">Name on the hub.</param>
/// <param name="Revision">Branch, tag or commit; null: the hub's default.</param>
/// <param name="LoadFormat">vLLM's, which says what weights it reads.</param>
/// <param name="WithWeights">False: only what describes the model.</param>
public sealed record ModelRequest(string Model, string? Revision, string LoadFormat, bool WithWeights);
