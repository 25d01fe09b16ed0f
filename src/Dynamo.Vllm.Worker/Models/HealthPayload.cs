using System.Text.Json;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Worker.Models;

/// <summary>What the canary sends (behaviour.md, 7).</summary>
internal static class HealthPayload
{
    /// <param name="usual">What this role answers.</param>
    /// <param name="replacement"><c>DYN_HEALTH_CHECK_PAYLOAD</c>: a JSON object, or <c>@</c> and a path.</param>
    /// <param name="warn">Hears why a replacement is ignored.</param>
    public static JsonObject Create(JsonObject usual, string? replacement, Action<string> warn)
    {
        var payload = Replacement(replacement, warn) ?? usual;
        payload["_HEALTH_CHECK"] = true;
        return payload;
    }

    /// <summary>One token more.</summary>
    /// <param name="bosTokenId">The tokenizer's own; the reference always sends 1.</param>
    public static JsonObject ForGeneration(int? bosTokenId) =>
        new()
        {
            ["token_ids"] = new JsonArray(bosTokenId ?? 1),
            ["sampling_options"] = new JsonObject { ["temperature"] = 0.0 },
            ["stop_conditions"] = new JsonObject
            {
                ["max_tokens"] = 1,
                ["stop"] = null,
                ["stop_token_ids"] = null,
                ["include_stop_str_in_output"] = false,
                ["ignore_eos"] = false,
            },
        };

    /// <summary>One token more, of a worker that tokenizes itself.</summary>
    public static JsonObject ForText() =>
        new()
        {
            ["prompt"] = "Test",
            ["temperature"] = 0.0,
            ["max_tokens"] = 1,
            ["stop"] = null,
            ["stop_token_ids"] = null,
            ["include_stop_str_in_output"] = false,
            ["ignore_eos"] = false,
        };

    /// <summary>The vector of one word.</summary>
    public static JsonObject ForEmbedding(string servedModelName) => new() { ["input"] = "probe", ["model"] = servedModelName };

    private static JsonObject? Replacement(string? text, Action<string> warn)
    {
        if (string.IsNullOrEmpty(text))
        {
            return null;
        }

        try
        {
            var json = text.StartsWith('@') ? File.ReadAllText(text[1..]) : text;
            if (JsonNode.Parse(json) is JsonObject payload)
            {
                return payload.Count > 0 ? payload : null;
            }

            warn("DYN_HEALTH_CHECK_PAYLOAD is not a JSON object; using the default payload");
        }
        catch (Exception exception) when (exception is JsonException or IOException or UnauthorizedAccessException)
        {
            warn($"DYN_HEALTH_CHECK_PAYLOAD is not usable ({exception.Message}); using the default payload");
        }

        return null;
    }
}
