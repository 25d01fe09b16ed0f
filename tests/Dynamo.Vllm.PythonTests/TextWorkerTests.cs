using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports.Client;

namespace Dynamo.Vllm.PythonTests;

/// <summary>A worker that tokenizes itself as a process on the simulated engine.</summary>
public sealed class TextWorkerTests : SimulatedWorkerTests
{
    private static readonly string[] Flags = ["--use-vllm-tokenizer"];

    [Theory]
    [InlineData("agg", PayloadCodec.MessagePack)]
    [InlineData("agg", PayloadCodec.Json)]
    [InlineData("decode", PayloadCodec.MessagePack)]
    public async Task Chats_and_completions_are_answered_in_chunks(string mode, PayloadCodec codec)
    {
        await using var worker = await StartAsync([.. Flags, "--disaggregation-mode", mode]);
        await using var client = await WorkerClient.ConnectAsync(FileDirectoryReader.FindTcp(Store, "generate")[0], codec, default);
        var chat = await AskAsync(client, """{"messages":[{"role":"user","content":"hi"}],"temperature":0}""");
        Assert.All(chat, chunk => Assert.Equal("chat.completion.chunk", chunk["object"]!.GetValue<string>()));
        Assert.Equal(16, chat[^1]["usage"]!["completion_tokens"]!.GetValue<int>()); // vLLM's default
        Assert.NotEqual("", string.Concat(chat.Select(chunk => chunk["choices"]![0]!["delta"]!["content"]!.GetValue<string>())));
        var completion = await AskAsync(client, """{"prompt":"hello","max_tokens":3,"temperature":0}""");
        Assert.All(completion, chunk => Assert.Equal("text_completion", chunk["object"]!.GetValue<string>()));
        Assert.Equal("length", completion[^1]["choices"]![0]!["finish_reason"]!.GetValue<string>());
    }

    [Fact]
    public async Task The_canary_proves_the_endpoint()
    {
        await using var worker = WorkerProcess.StartSimulated(
            Store,
            Flags,
            new Dictionary<string, string> { ["DYN_HEALTH_CHECK_ENABLED"] = "true", ["DYN_CANARY_WAIT_TIME"] = "1" }
        );
        await worker.ReadyAsync(Limit);
        // Without a proof it stays 503.
        await Polling.UntilAsync("the canary proves nothing", Limit, async () => await worker.StatusAsync("/health") == 200);
        Assert.DoesNotContain(worker.Process.Lines, line => line.Contains("Health probe of", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_prefill_worker_is_given_token_ids_all_the_same()
    {
        await using var worker = await StartAsync([
            .. Flags,
            "--disaggregation-mode",
            "prefill",
            "--kv-transfer-config",
            """{"kv_connector":"NixlConnector","kv_role":"kv_both"}""",
        ]);
        await using var client = await WorkerClient.ConnectAsync(
            FileDirectoryReader.FindTcp(Store, "generate")[0],
            PayloadCodec.MessagePack,
            default
        );
        var items = await AskAsync(client, """{"token_ids":[1,2,3],"_HEALTH_CHECK":true}""");
        Assert.Single(Assert.Single(items)["token_ids"]!.AsArray());
    }

    private static async Task<List<JsonObject>> AskAsync(WorkerClient client, string body)
    {
        await using var call = await client.CallAsync(Encoding.UTF8.GetBytes(body), default);
        var items = new List<JsonObject>();
        await foreach (var item in call.ReadAsync(default))
        {
            items.Add(item["data"]?.AsObject() ?? throw new InvalidOperationException(item.ToJsonString()));
        }

        Assert.True(call.IsComplete);
        return items;
    }
}
