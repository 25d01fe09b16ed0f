namespace Dynamo.Vllm.Engine;

/// <summary>A model of a hub that is on this host.</summary>
/// <param name="Folder">Holds it.</param>
/// <param name="IsHubAsked">Where the hub could not be asked, vLLM must be given the folder: it would ask, too, and not start.</param>
public sealed record FetchedModel(string Folder, bool IsHubAsked);
