using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.Worker.Tools;

/// <summary>One request to a live worker over the real request plane.</summary>
internal static class CallTool
{
    public static async Task<int> RunAsync(CallToolOptions options, TextWriter output, CancellationToken cancellationToken)
    {
        var store = Environment.GetEnvironmentVariable("DYN_FILE_KV") ?? Path.Combine(Path.GetTempPath(), "dynamo_store_kv");
        var found = options.Address is null ? FileDirectoryReader.FindTcp(store, options.Endpoint) : [options.Address];
        var address = found.Count > 0 ? found[0] : null;
        if (address is null)
        {
            await Console
                .Error.WriteLineAsync(
                    $"no instance of '{options.Endpoint}' in {store}; set DYN_FILE_KV to the worker's store, or give --address"
                )
                .ConfigureAwait(false);
            return 1;
        }

        try
        {
            await using var client = await WorkerClient
                .ConnectAsync(address, PayloadCodec.MessagePack, cancellationToken)
                .ConfigureAwait(false);
            await using var call = await client.CallAsync(Body(options), cancellationToken).ConfigureAwait(false);
            await foreach (var item in call.ReadAsync(cancellationToken).ConfigureAwait(false))
            {
                await output.WriteLineAsync(item.ToJsonString()).ConfigureAwait(false);
                await output.FlushAsync(cancellationToken).ConfigureAwait(false);
            }

            return call.IsComplete ? 0 : 1;
        }
        catch (Exception exception)
            when (exception is WorkerCallException or IOException or System.Net.Sockets.SocketException or JsonException or FormatException)
        {
            await Console.Error.WriteLineAsync($"{address}: {exception.Message}").ConfigureAwait(false);
            return 1;
        }
    }

    /// <summary>A greedy request.</summary>
    public static byte[] Request(IEnumerable<int> tokens, int maxTokens, JsonObject? guidedDecoding = null) =>
        Encoding.UTF8.GetBytes(
            new JsonObject
            {
                ["token_ids"] = new JsonArray([.. tokens.Select(token => JsonValue.Create(token))]),
                ["stop_conditions"] = new JsonObject { ["max_tokens"] = maxTokens },
                ["sampling_options"] = new JsonObject { ["temperature"] = 0.0, ["guided_decoding"] = guidedDecoding },
            }.ToJsonString()
        );

    private static byte[] Body(CallToolOptions options) =>
        options.Body is not null
            ? Encoding.UTF8.GetBytes(JsonNode.Parse(options.Body)!.ToJsonString())
            : Request(
                options.Tokens.Split(',', StringSplitOptions.TrimEntries).Select(text => int.Parse(text, CultureInfo.InvariantCulture)),
                options.MaxTokens
            );
}
