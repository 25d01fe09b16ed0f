using System.Text.Json.Serialization;

namespace Dynamo.Vllm.Worker.Doctor;

/// <summary>What the interpreter answers: versions by package, null where there is none.</summary>
[JsonSerializable(typeof(Dictionary<string, string?>))]
internal sealed partial class PackageVersionsContext : JsonSerializerContext;
