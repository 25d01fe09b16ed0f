using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Protocol.ModelCards;

/// <summary>A file that a frontend needs, with the checksum it verifies (llm-registration.md, 2.1).</summary>
/// <param name="Path">Local absolute path or URL.</param>
/// <param name="Blake3">64 lower-case hexadecimal digits.</param>
/// <param name="SizeBytes">Length of the file.</param>
public sealed record CheckedFile(string Path, string Blake3, long SizeBytes)
{
    /// <summary>The file's own name, without folders.</summary>
    public string Name => Path[(Path.LastIndexOf('/') + 1)..];

    public JsonObject ToJson() =>
        new()
        {
            ["path"] = Path,
            ["checksum"] = $"blake3:{Blake3}",
            ["size"] = SizeBytes,
        };
}
