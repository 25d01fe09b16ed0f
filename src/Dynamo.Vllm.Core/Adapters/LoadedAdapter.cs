namespace Dynamo.Vllm.Core.Adapters;

/// <summary>A LoRA adapter that the engine can serve requests with.</summary>
/// <param name="Name">What clients give as the model; part of the hashes of its cache blocks.</param>
/// <param name="Id">The engine's number for it, the same on every worker.</param>
/// <param name="Path">Local folder that the engine loads it from, also again after it was evicted.</param>
public sealed record LoadedAdapter(string Name, int Id, string Path);
