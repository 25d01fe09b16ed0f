namespace Dynamo.Vllm.Transports.Adapters;

/// <summary>What makes a folder an adapter (llm-registration.md, 6).</summary>
internal static class AdapterFolder
{
    public const string Settings = "adapter_config.json";

    /// <summary>One of them; the first is preferred.</summary>
    public static IReadOnlyList<string> Weights { get; } = ["adapter_model.safetensors", "adapter_model.bin"];

    public static bool IsComplete(string folder) =>
        File.Exists(Path.Combine(folder, Settings)) && Weights.Any(name => File.Exists(Path.Combine(folder, name)));
}
