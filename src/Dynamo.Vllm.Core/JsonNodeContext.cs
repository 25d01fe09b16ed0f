using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace Dynamo.Vllm.Core;

/// <summary>Serialization of free-form JSON without reflection.</summary>
[JsonSerializable(typeof(JsonObject))]
public sealed partial class JsonNodeContext : JsonSerializerContext;
