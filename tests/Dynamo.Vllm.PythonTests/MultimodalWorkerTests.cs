using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Media;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PythonTests;

/// <summary>Workers that see, as processes on the simulated engine.</summary>
public sealed class MultimodalWorkerTests : SimulatedWorkerTests
{
    private const int Placeholder = 2000;

    private const string Transfer =
        """{"kv_connector":"NixlConnector","kv_role":"kv_both","kv_connector_extra_config":{"kv_lease_duration":60}}""";

    private static readonly Dictionary<string, string> Internal = new() { ["DYN_MM_ALLOW_INTERNAL"] = "1" };

    private readonly TemporaryFolder _folder = new();
    private readonly MediaHost _host = new();

    public MultimodalWorkerTests()
    {
        _host.Add("small.png", Png(28, 28));
        _host.Add("large.png", Png(56, 84));
    }

    [Fact]
    public async Task Images_are_fetched_and_take_their_room_in_the_prompt()
    {
        await using var worker = await StartAsync(Flags(), environment: Internal);
        await using var client = await ConnectAsync();
        var data = "data:image/png;base64," + Convert.ToBase64String(Png(28, 56));
        var answer = await AskAsync(client, [1, Placeholder, 5, Placeholder, Placeholder], Url("small.png"), data, Url("large.png"));
        Assert.Equal(2 + 1 + 2 + 6, answer["data"]!["completion_usage"]!["prompt_tokens"]!.GetValue<int>());
        var text = await SingleAsync(await client.CallAsync(Body(1, 1), default));
        Assert.Equal(3, text["data"]!["completion_usage"]!["prompt_tokens"]!.GetValue<int>());
    }

    [Fact]
    public async Task What_cannot_be_served_is_refused_with_its_reason()
    {
        await using var worker = await StartAsync([.. Flags(), "--limit-mm-per-prompt", """{"image":2}"""], environment: Internal);
        await using var client = await ConnectAsync();
        foreach (
            var (tokens, urls, reason, kind) in ((int[], string[], string, string)[])
                [
                    (
                        [Placeholder],
                        [Url("none.png")],
                        "multi_modal_data.image_url[0]: the host '127.0.0.1' answered with status 404",
                        "NotFound"
                    ),
                    ([Placeholder], ["data:image/png;base64,aGVsbG8="], "image 0 of the request is no PNG image", "UnsupportedMedia"),
                    ([], [Url("small.png")], "the prompt does not go with its media", "InvalidRequest"),
                    ([Placeholder], [.. Enumerable.Repeat(Url("small.png"), 3)], "At most 2 image(s) may be provided", "InvalidRequest"),
                ]
        )
        {
            var error = (await AskAsync(client, [1, .. tokens], urls))["error"]!;
            Assert.Contains(reason, error["public"]!["message"]!.GetValue<string>(), StringComparison.Ordinal);
            Assert.Equal(kind, error["class"]!.GetValue<string>());
        }

        Assert.Equal(5, await CountAsync(await client.CallAsync(Body(1, 5), default)));
    }

    [Fact]
    public async Task Nothing_internal_is_asked_unless_the_operator_allows_it()
    {
        await using var worker = await StartAsync(Flags());
        await using var client = await ConnectAsync();
        var error = (await AskAsync(client, [Placeholder], Url("small.png")))["error"]!;
        Assert.Contains("http:// URLs are not allowed", error["public"]!["message"]!.GetValue<string>(), StringComparison.Ordinal);
        Assert.Equal(0, _host.Asked("files/small.png"));
    }

    [Fact]
    public async Task A_caller_who_leaves_ends_the_fetch_and_frees_the_worker()
    {
        await using var worker = await StartAsync(Flags(), environment: Internal);
        await using var client = await ConnectAsync();
        var call = await client.CallAsync(Request([Placeholder], _host.Url("never")), default);
        await _host.NeverAskedAsync(Limit);
        await call.KillAsync(default);
        await _host.LeftAsync(Limit);
        await Polling.UntilAsync(
            "the request is still there",
            Limit,
            async () => await worker.MetricAsync("dynamo_component_inflight_requests", "generate") == 0
        );
        await call.DisposeAsync();
    }

    [Fact]
    public async Task A_decode_worker_goes_on_from_the_prompt_that_the_prefill_worker_saw()
    {
        await using var prefill = await StartAsync(
            [.. Flags(), "--disaggregation-mode", "prefill", "--kv-transfer-config", Transfer],
            environment: Internal
        );
        await using var toPrefill = await ConnectAsync();
        var handOver = (await AskAsync(toPrefill, [1, Placeholder], Url("large.png")))["data"]!["disaggregated_params"]!;
        int[] expanded = [1, .. Enumerable.Repeat(Placeholder, 6)];
        Assert.Equal(expanded, handOver["embedding_params"]!["expanded_prompt_token_ids"]!.AsArray().Select(id => id!.GetValue<int>()));
        await using var decode = await StartAsync(
            [.. Flags(), "--disaggregation-mode", "decode", "--kv-transfer-config", Transfer],
            environment: Internal
        );
        var address = FileDirectoryReader.FindTcp(Store, "generate").Single(found => found.Contains("/backend/", StringComparison.Ordinal));
        await using var toDecode = await WorkerClient.ConnectAsync(address, PayloadCodec.MessagePack, default);
        foreach (var withMedia in (bool[])[true, false])
        {
            var request = JsonNode.Parse(withMedia ? Request([1, Placeholder], Url("large.png")) : Request([1, Placeholder]))!;
            request["prefill_result"] = new JsonObject { ["disaggregated_params"] = handOver.DeepClone() };
            var answer = await SingleAsync(await toDecode.CallAsync(Encoding.UTF8.GetBytes(request.ToJsonString()), default));
            Assert.Equal(expanded.Length, answer["data"]!["completion_usage"]!["prompt_tokens"]!.GetValue<int>());
        }
    }

    protected override void Dispose(bool disposing)
    {
        _host.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _folder.Dispose();
        base.Dispose(disposing);
    }

    private string Url(string name) => _host.Url($"files/{name}");

    /// <summary>The simulated engine's model, with eyes.</summary>
    private string[] Flags()
    {
        var model = Path.Combine(_folder.Path, "model");
        if (!Directory.Exists(model))
        {
            Directory.CreateDirectory(model);
            foreach (var file in Directory.GetFiles(Path.Combine(SimulatedPaths.SimulatedEngine, "model")))
            {
                File.Copy(file, Path.Combine(model, Path.GetFileName(file)));
            }

            var path = Path.Combine(model, "config.json");
            var config = JsonNode.Parse(File.ReadAllText(path))!;
            config["image_token_id"] = Placeholder;
            File.WriteAllText(path, config.ToJsonString());
        }

        return ["--enable-multimodal", "--model", model];
    }

    private static async Task<JsonObject> AskAsync(WorkerClient client, int[] tokens, params string[] urls) =>
        await SingleAsync(await client.CallAsync(Request(tokens, urls), default));

    private static byte[] Request(int[] tokens, params string[] urls)
    {
        var request = new JsonObject
        {
            ["token_ids"] = new JsonArray([.. tokens.Select(token => JsonValue.Create(token))]),
            ["stop_conditions"] = new JsonObject { ["max_tokens"] = 1 },
        };
        if (urls.Length > 0)
        {
            request["multi_modal_data"] = new JsonObject
            {
                ["image_url"] = new JsonArray([.. urls.Select(url => new JsonObject { ["Url"] = url })]),
            };
        }

        return Encoding.UTF8.GetBytes(request.ToJsonString());
    }

    /// <summary>As much of a PNG as the simulated engine looks at.</summary>
    private static byte[] Png(int width, int height)
    {
        var png = new byte[33];
        byte[] head = [0x89, .. "PNG"u8, 13, 10, 26, 10, 0, 0, 0, 13, .. "IHDR"u8];
        head.CopyTo(png, 0);
        BinaryPrimitives.WriteInt32BigEndian(png.AsSpan(16), width);
        BinaryPrimitives.WriteInt32BigEndian(png.AsSpan(20), height);
        return png;
    }
}
