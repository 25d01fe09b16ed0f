using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PeerTests;

/// <summary>A worker, ours or the official one, called without a frontend,
/// and its answer in a form that two workers can be compared by.</summary>
internal sealed class DirectWorker : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    // Ids of a request and places of a worker: they differ between any two answers.
    private static readonly HashSet<string> OwnValues =
    [
        "remote_engine_id",
        "remote_request_id",
        "remote_port",
        "remote_block_ids",
        "remote_blocks_expiry_time",
        "reused_tokens",
        "cached_tokens",
    ];

    private readonly WorkerClient _client;

    private DirectWorker(WorkerClient client) => _client = client;

    public static async Task<DirectWorker> ConnectAsync(string address)
    {
        using var limit = new CancellationTokenSource(Limit);
        return new DirectWorker(await WorkerClient.ConnectAsync(address, PayloadCodec.MessagePack, limit.Token));
    }

    /// <summary>The items of one answer as they came.</summary>
    public static async Task<IReadOnlyList<JsonObject>> ItemsAsync(string address, string bodyJson)
    {
        using var limit = new CancellationTokenSource(Limit);
        await using var client = await WorkerClient.ConnectAsync(address, PayloadCodec.MessagePack, limit.Token);
        await using var call = await client.CallAsync(Encoding.UTF8.GetBytes(bodyJson), limit.Token);
        var items = new List<JsonObject>();
        await foreach (var item in call.ReadAsync(limit.Token))
        {
            items.Add(item);
        }

        return items;
    }

    /// <summary>
    /// How many items the tokens came in is chance, so each choice is put together
    /// again: tokens, logprobs, and the last of everything else. Null if no answer came.
    /// </summary>
    public async Task<JsonObject?> AskAsync(string bodyJson)
    {
        using var limit = new CancellationTokenSource(Limit);
        var answer = new JsonObject();
        try
        {
            await using var call = await _client.CallAsync(Encoding.UTF8.GetBytes(bodyJson), limit.Token);
            await foreach (var item in call.ReadAsync(limit.Token))
            {
                Add(answer, item);
            }

            answer["complete"] = call.IsComplete;
        }
        catch (WorkerCallException exception)
        {
            answer["broken"] = exception.IsRefusal ? exception.Message : "broken";
        }
        catch (OperationCanceledException)
        {
            return null;
        }

        return answer;
    }

    public ValueTask DisposeAsync() => _client.DisposeAsync();

    private static void Add(JsonObject answer, JsonObject item)
    {
        if (item["error"] is JsonObject error)
        {
            answer["error"] = error.DeepClone();
            return;
        }

        var data = item["data"]!.AsObject();
        var name = $"choice {data["index"]?.ToJsonString() ?? "without index"}";
        answer[name] ??= new JsonObject();
        var choice = answer[name]!.AsObject();
        foreach (var (key, value) in data)
        {
            if (key is "token_ids" or "log_probs" or "top_logprobs" && choice[key] is JsonArray list)
            {
                foreach (var part in value!.AsArray())
                {
                    list.Add(part?.DeepClone());
                }
            }
            else
            {
                // The usage counts over all choices, so what it is at the end of each is chance, too.
                (key == "completion_usage" ? answer : choice)[key] = Comparable(value);
            }
        }
    }

    private static JsonNode? Comparable(JsonNode? node) =>
        node switch
        {
            JsonObject map => new JsonObject(
                map.Select(pair =>
                    KeyValuePair.Create(
                        pair.Key,
                        OwnValues.Contains(pair.Key)
                            ? JsonValue.Create(pair.Value?.GetValueKind() == JsonValueKind.Null ? "null" : "...")
                            : Comparable(pair.Value)
                    )
                )
            ),
            _ => node?.DeepClone(),
        };
}
