using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Protocol.Errors;

/// <summary>The error object of another worker's answer (llm-errors.md, 2), as far as it says something to our own caller.</summary>
public static class PeerError
{
    /// <summary>What a client has to mend, in the other worker's words; null for a fault that is none of the client's.</summary>
    public static DynamoError? AsClientFault(JsonNode? error)
    {
        var status = Text(error, "class") switch
        {
            DynamoError.InvalidRequestClass => 400,
            "PermissionDenied" => 403,
            "NotFound" => 404,
            "UnsupportedMedia" => 415,
            _ => 0,
        };
        if (status == 0)
        {
            return null;
        }

        var shown = Text((error as JsonObject)?["public"], "message");
        return shown.Length > 0 ? DynamoError.Medium(status, shown)
            : status == 400 ? DynamoError.InvalidArgumentPrivate(Describe(error))
            : DynamoError.Medium(status, "a medium of the request cannot be used");
    }

    /// <summary>For an operator.</summary>
    public static string Describe(JsonNode? error) => $"{Text(error, "class")}/{Text(error, "reason")}: {Text(error, "message")}";

    private static string Text(JsonNode? error, string name) =>
        error is JsonObject json && json[name] is JsonValue value && value.TryGetValue<string>(out var text) ? text : "";
}
