using System.Text.Json.Nodes;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Chunks put together: how many items a text came in is chance.</summary>
internal static class TextAnswer
{
    // Of this answer alone.
    private static readonly HashSet<string> OwnValues = ["id", "created"];

    /// <summary>A stream of server-sent events to its end.</summary>
    public static JsonObject OfEvents(string events)
    {
        var answer = new JsonObject();
        foreach (var line in events.Split('\n').Where(line => line.StartsWith("data: ", StringComparison.Ordinal)))
        {
            var text = line["data: ".Length..];
            if (text == "[DONE]")
            {
                answer["done"] = true;
            }
            else
            {
                Add(answer, JsonNode.Parse(text)!.AsObject());
            }
        }

        return answer;
    }

    /// <summary>Items as a worker sends them.</summary>
    public static JsonObject OfItems(IEnumerable<JsonObject> items)
    {
        var answer = new JsonObject();
        foreach (var item in items)
        {
            Add(answer, item["data"] as JsonObject ?? item);
        }

        return answer;
    }

    /// <summary>An answer in one piece without what differs between any two.</summary>
    public static JsonNode Whole(JsonNode answer) => WithoutOwnValues(answer.AsObject());

    private static void Add(JsonObject answer, JsonObject chunk)
    {
        foreach (var (key, value) in WithoutOwnValues(chunk))
        {
            if (key != "choices")
            {
                answer[key] = value?.DeepClone();
                continue;
            }

            foreach (var part in value!.AsArray())
            {
                var choice = part!.AsObject();
                var name = $"choice {choice["index"]}";
                answer[name] ??= new JsonObject { ["text"] = "" };
                var whole = answer[name]!.AsObject();
                var delta = choice["delta"];
                whole["text"] = whole["text"]!.GetValue<string>() + (delta?["content"] ?? choice["text"])?.GetValue<string>();
                whole["role"] ??= delta?["role"]?.DeepClone();
                whole["finish_reason"] = choice["finish_reason"]?.DeepClone();
            }
        }
    }

    private static JsonObject WithoutOwnValues(JsonObject map) =>
        new(map.Where(pair => !OwnValues.Contains(pair.Key)).Select(pair => KeyValuePair.Create(pair.Key, pair.Value?.DeepClone())));
}
