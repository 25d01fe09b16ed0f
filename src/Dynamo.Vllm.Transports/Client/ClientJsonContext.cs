using System.Text.Json.Serialization;

namespace Dynamo.Vllm.Transports.Client;

[JsonSerializable(typeof(Dictionary<string, string>))]
internal sealed partial class ClientJsonContext : JsonSerializerContext;
