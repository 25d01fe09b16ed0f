using System.Text.Json;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Core.Adapters;

/// <summary>Reads the bodies of adapter calls. Null where one is wrong, with the reference's words for it.</summary>
public static class AdapterRequests
{
    public static (string Name, string Uri)? ReadLoad(JsonNode? body, out string problem)
    {
        problem = "";
        if (body is not JsonObject request)
        {
            problem = "Request is required with 'lora_name' and 'source.uri'";
        }
        else if (Text(request["lora_name"]) is not { } name)
        {
            problem = "'lora_name' is required and must be a string";
        }
        else if (request["source"] is not JsonObject { Count: > 0 } source)
        {
            problem = "'source' object is required in request";
        }
        else if (Text(source["uri"]) is not { } uri)
        {
            problem = "'source.uri' is required and must be a string";
        }
        else
        {
            return (name, uri);
        }

        return null;
    }

    public static string? ReadUnload(JsonNode? body, out string problem)
    {
        problem = "";
        if (body is not JsonObject request)
        {
            problem = "Request is required with 'lora_name' field";
        }
        else if (Text(request["lora_name"]) is { } name)
        {
            return name;
        }
        else
        {
            problem = "'lora_name' is required and must be a string";
        }

        return null;
    }

    private static string? Text(JsonNode? value) =>
        value?.GetValueKind() == JsonValueKind.String && value.GetValue<string>() is { Length: > 0 } text ? text : null;
}
