namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>A constraint on the output, as JSON values that the engine takes unchanged (llm.md, 2.2).</summary>
public sealed class GuidedDecoding
{
    /// <summary>A JSON schema: an object, or a string that holds one.</summary>
    public ReadOnlyMemory<byte>? JsonSchema { get; set; }

    public string? Regex { get; set; }

    public IReadOnlyList<string>? Choice { get; set; }

    public string? Grammar { get; set; }

    public string? WhitespacePattern { get; set; }

    /// <summary>A structural tag object as JSON; the engine wants its text.</summary>
    public ReadOnlyMemory<byte>? StructuralTag { get; set; }

    /// <summary>What it takes as UTF-8, where one character counts as one byte.</summary>
    public long ApproximateBytes =>
        (JsonSchema?.Length ?? 0)
        + (StructuralTag?.Length ?? 0)
        + (Regex?.Length ?? 0)
        + (Grammar?.Length ?? 0)
        + (WhitespacePattern?.Length ?? 0)
        + (Choice?.Sum(text => (long)text.Length) ?? 0);
}
