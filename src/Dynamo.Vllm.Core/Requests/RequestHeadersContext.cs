using System.Text.Json.Serialization;

namespace Dynamo.Vllm.Core.Requests;

[JsonSerializable(typeof(Dictionary<string, string>))]
internal sealed partial class RequestHeadersContext : JsonSerializerContext;
