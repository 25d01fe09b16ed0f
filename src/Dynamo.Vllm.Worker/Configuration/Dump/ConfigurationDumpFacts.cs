using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Worker.Configuration.Dump;

/// <summary>What the dump says about machine and software; the Python side delivers its part as JSON.</summary>
public sealed record ConfigurationDumpFacts
{
    /// <summary>The whole argument vector, program name first.</summary>
    public required IReadOnlyList<string> CommandLine { get; init; }

    /// <summary>See <see cref="SystemFacts"/>.</summary>
    public required JsonObject System { get; init; }

    /// <summary><c>python_version</c>, <c>python_version_info</c> and <c>python_executable</c>; null without an interpreter.</summary>
    public JsonObject? Python { get; init; }

    /// <summary>Package name to version; null without an interpreter.</summary>
    public JsonObject? InstalledPackages { get; init; }

    /// <summary>An object with <c>gpus</c> and <c>count</c>; null when the driver cannot be asked.</summary>
    public JsonNode? Gpu { get; init; }
}
