using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Testing;

/// <summary>Captures of real peers, copied next to the tests.</summary>
public static class Golden
{
    public static byte[] Bytes(string path) => File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "golden", path));

    public static string Text(string path) => File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "golden", path));

    public static JsonObject Json(string path) => JsonNode.Parse(Text(path))!.AsObject();
}
