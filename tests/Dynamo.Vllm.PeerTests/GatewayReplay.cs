using System.Globalization;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Google.Protobuf;
using Grpc.Net.Client;

namespace Dynamo.Vllm.PeerTests;

/// <summary>The calls that were captured at <c>vllm serve --grpc</c>, made once more at a worker of ours.</summary>
internal sealed class GatewayReplay(GrpcChannel channel)
{
    private static readonly JsonParser Parser = new(JsonParser.Settings.Default);

    /// <summary>Captured calls by name.</summary>
    public static IReadOnlyDictionary<string, JsonObject> Calls { get; } =
        GrpcCapture.CallsIn("grpc/gateway-calls.jsonl").ToDictionary(call => call["name"]!.GetValue<string>());

    public VllmEngine.VllmEngineClient Engine { get; } = new(channel);

    /// <summary>Where ours and the captured answers to requests are not alike.</summary>
    public async Task<List<string>> CompareAsync()
    {
        var differences = new List<string>();
        foreach (var (name, captured) in Calls.Where(call => call.Value["messages"] is not null || call.Value["error"] is not null))
        {
            if (captured["request"]?["sampling_params"] is null)
            {
                continue; // no request
            }

            var ours = Shape(name, await AnswerAsync(captured["request"]!));
            var theirs = Shape(name, captured);
            if (!JsonNode.DeepEquals(theirs, ours))
            {
                differences.Add($"{name}\n  ours   {ours.ToJsonString()}\n  vllm   {theirs.ToJsonString()}");
            }
        }

        return differences;
    }

    public static T Captured<T>(string name)
        where T : IMessage, new() => Parser.Parse<T>(Calls[name]["response"]!.ToJsonString());

    private Task<JsonObject> AnswerAsync(JsonNode request)
    {
        var parsed = Parser.Parse<GenerateRequest>(request.ToJsonString());
        return GrpcCapture.StreamAsync(limit => Engine.Generate(parsed, cancellationToken: limit));
    }

    /// <summary>
    /// What of an answer is the same at any precision and in any rhythm: this engine computes in float32, the captured one did in bfloat16.
    /// </summary>
    private static JsonObject Shape(string name, JsonObject answer)
    {
        if (answer["error"] is JsonObject error)
        {
            // Ours name the limit as well.
            var isOurs = name is "too long" or "bad token";
            return new JsonObject { ["code"] = error["code"]!.DeepClone(), ["details"] = isOurs ? null : error["details"]!.DeepClone() };
        }

        var shape = new JsonObject();
        foreach (var message in answer["messages"]!.AsArray())
        {
            var (part, isEnd) = message!["chunk"] is JsonObject chunk ? (chunk, false) : (message["complete"]!.AsObject(), true);
            var index = part["index"]?.ToString() ?? "0";
            var tokens = part[isEnd ? "output_ids" : "token_ids"]?.AsArray() ?? [];
            var counted = (int?)part["completion_tokens"] ?? 0;
            shape[$"prompt {index}"] = part["prompt_tokens"]?.DeepClone();
            shape[$"cached {index}"] = part["cached_tokens"]?.DeepClone();
            Assert.Equal(tokens.Count, counted);
            if (isEnd)
            {
                shape[$"end {index}"] = $"{part["finish_reason"]} {part["matched_token_id"]}{part["matched_stop_str"]}";
                shape[$"last {index}"] = Shown(name, tokens);
                shape[$"transfer {index}"] = part["kv_transfer_params_json"]?.DeepClone();
            }
            else
            {
                shape[$"tokens {index}"] = $"{shape[$"tokens {index}"]} {Shown(name, tokens)}".Trim();
            }

            if (part["output_logprobs"] is JsonObject output)
            {
                var which = isEnd ? "last" : "all";
                shape[$"{which} logprobs {index}"] = $"{shape[$"{which} logprobs {index}"]} {Logprobs(output)}".Trim();
            }

            if (part["input_logprobs"] is JsonObject input)
            {
                shape[$"input {index} {isEnd}"] = $"{input["token_ids"]!.ToJsonString()} {Logprobs(input)}";
            }
        }

        return shape;
    }

    /// <summary>What is drawn, or as likely as another, differs with the precision: then the count is compared.</summary>
    private static string Shown(string name, JsonArray tokens) =>
        name is "text n=2" or "json schema" ? new string('.', name == "json schema" ? 1 : tokens.Count) : string.Join(' ', tokens);

    /// <summary>Numbers in one digit, of each position the first candidate, and how many there are.</summary>
    private static string Logprobs(JsonObject logprobs)
    {
        var numbers = logprobs["token_logprobs"]!
            .AsArray()
            .Select(entry => entry is JsonObject wrapped ? (double?)wrapped["value"] : entry!.GetValue<double>())
            .Select(number => number?.ToString("0.0", CultureInfo.InvariantCulture) ?? "none");
        var tops = (logprobs["top_logprobs"]?.AsArray() ?? []).Select(top =>
            $"{top!["token_ids"]?.AsArray().FirstOrDefault()} of {top["token_ids"]?.AsArray().Count ?? 0}"
        );
        return $"{string.Join(' ', numbers)}; {string.Join(", ", tops)}";
    }
}
