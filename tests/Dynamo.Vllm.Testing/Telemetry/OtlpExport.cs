namespace Dynamo.Vllm.Testing.Telemetry;

/// <summary>One export as a collector got it.</summary>
/// <param name="Path">Path of the request.</param>
/// <param name="Headers">Of the request.</param>
/// <param name="Resource">Attributes as <c>name=value</c>.</param>
/// <param name="Scope">Name and version.</param>
/// <param name="Families">By name.</param>
public sealed record OtlpExport(
    string Path,
    IReadOnlyDictionary<string, string> Headers,
    IReadOnlyList<string> Resource,
    string Scope,
    IReadOnlyDictionary<string, OtlpFamily> Families
);
