namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>What of a run is saved, and where.</summary>
/// <param name="Folder">Made where it is not there; null: the current one.</param>
/// <param name="Name">Null: made from the label, the rate, the concurrency, the model and the time, as vLLM does.</param>
/// <param name="Label">Null: the kind of the endpoint.</param>
/// <param name="Metadata">Further members.</param>
/// <param name="IsDetailed">With the times of each request.</param>
internal sealed record BenchFileOptions(
    string? Folder,
    string? Name,
    string? Label,
    IReadOnlyDictionary<string, string> Metadata,
    bool IsDetailed
);
