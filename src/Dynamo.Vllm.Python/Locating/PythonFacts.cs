using System.Text.Json.Serialization;

namespace Dynamo.Vllm.Python.Locating;

/// <summary>What an interpreter says of itself, asked as a program before it is loaded as a library.</summary>
internal sealed record PythonFacts(
    string Executable,
    string Version,
    int Major,
    int Minor,
    string Implementation,
    int Bits,
    bool FreeThreaded,
    string Libdir,
    string Multiarch,
    IReadOnlyList<string> Names,
    string Libpl,
    string Base,
    IReadOnlyList<string> Maps
);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(PythonFacts))]
internal sealed partial class PythonFactsContext : JsonSerializerContext;
