using System.Text.Json.Nodes;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Varied requests whose answers are the same on every worker: greedy or seeded.</summary>
internal static class RequestCatalogue
{
    public static IReadOnlyList<(string Path, JsonObject Body)> All { get; } = [.. Completions(), .. Chats(), .. Refused()];

    private static IEnumerable<(string, JsonObject)> Completions()
    {
        foreach (
            var prompt in (string[])
                ["hello world", "a", "The quick brown fox jumps over the lazy dog and runs away from the bear", "1 2 3 4 5 6 7 8 9"]
        )
        {
            foreach (var tokens in (int[])[1, 3, 17, 40])
            {
                yield return Completion(prompt, ("max_tokens", tokens), ("temperature", 0));
            }
        }

        (string, JsonNode)[][] options =
        [
            [("temperature", 0.7), ("seed", 42)],
            [("temperature", 1.0), ("top_p", 0.5), ("seed", 1)],
            [("temperature", 1.0), ("top_k", 3), ("seed", -5)],
            [("temperature", 0), ("logprobs", 0)],
            [("temperature", 0), ("logprobs", 3)],
            [("temperature", 0), ("presence_penalty", 1.5)],
            [("temperature", 0), ("frequency_penalty", 1.5)],
            [("temperature", 0), ("repetition_penalty", 1.3)],
            [("temperature", 0), ("min_tokens", 5)],
            [("temperature", 0), ("stop", "cv")],
            [("temperature", 0), ("stop_token_ids", new JsonArray(960, 382))],
            [("temperature", 0), ("ignore_eos", true)],
            [("temperature", 0.8), ("n", 2), ("seed", 9)],
            [("temperature", 0), ("allowed_token_ids", new JsonArray(45, 375, 319))],
            [("temperature", 0), ("bad_words_token_ids", new JsonArray(new JsonArray(960)))],
            [("temperature", 0), ("echo", true)],
            [("temperature", 0), ("guided_choice", new JsonArray("yes", "no"))],
            [("temperature", 0), ("guided_regex", "[ab]{3}")],
            [("temperature", 0), ("nvext", new JsonObject { ["extra_fields"] = new JsonArray("engine_data") })],
            [("temperature", 0), ("cache_salt", "s1")],
            [("temperature", 0), ("min_p", 0.1)],
        ];
        foreach (var option in options)
        {
            yield return Completion("hello world, this is a test", [("max_tokens", 12), .. option]);
        }

        yield return (
            "/v1/completions",
            new JsonObject
            {
                ["model"] = "tiny",
                ["prompt"] = new JsonArray(1, 45, 375, 319),
                ["max_tokens"] = 6,
                ["temperature"] = 0,
            }
        );
        yield return (
            "/v1/completions",
            new JsonObject
            {
                ["model"] = "tiny",
                ["prompt"] = new JsonArray("one", "two"),
                ["max_tokens"] = 4,
                ["temperature"] = 0,
            }
        );
    }

    private static IEnumerable<(string, JsonObject)> Chats()
    {
        (string, JsonNode)[][] options =
        [
            [("max_tokens", 8)],
            [("max_tokens", 30)],
            [("max_tokens", 8), ("logprobs", true), ("top_logprobs", 2)],
            [("max_tokens", 8), ("logprobs", true)],
            [("max_completion_tokens", 5)],
            [("max_tokens", 8), ("stop", new JsonArray("x", "cv cv"))],
            [("max_tokens", 20), ("response_format", new JsonObject { ["type"] = "json_object" })],
            // With greed_sampling the frontend sends no temperature (llm.md, 2.2), so the engine samples: a seed makes it repeatable.
            [("max_tokens", 12), ("nvext", new JsonObject { ["greed_sampling"] = true }), ("seed", 4)],
        ];
        foreach (var option in options)
        {
            var body = new JsonObject
            {
                ["model"] = "tiny",
                ["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = "hello there" }),
                ["temperature"] = 0,
            };
            foreach (var (name, value) in option)
            {
                body[name] = value.DeepClone();
            }

            yield return ("/v1/chat/completions", body);
        }
    }

    private static IEnumerable<(string, JsonObject)> Refused()
    {
        yield return Completion("hello", ("max_tokens", 5), ("prompt_embeds", Convert.ToBase64String(new byte[200])));
        yield return Completion("hello", ("max_tokens", 4), ("guided_regex", "["));
        yield return Completion("hello", ("max_tokens", 4), ("allowed_token_ids", new JsonArray(99999)));
    }

    private static (string, JsonObject) Completion(string prompt, params (string, JsonNode)[] options)
    {
        var body = new JsonObject { ["model"] = "tiny", ["prompt"] = prompt };
        foreach (var (name, value) in options)
        {
            body[name] = value.DeepClone();
        }

        return ("/v1/completions", body);
    }
}
