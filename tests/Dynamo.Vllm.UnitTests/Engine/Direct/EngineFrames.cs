using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.UnitTests.Engine.Direct;

/// <summary>What passed between vLLM's front end and EngineCore (tests/golden/vllm/engine-core-frames.jsonl).</summary>
internal static class EngineFrames
{
    /// <summary>Of <c>EngineCoreRequest</c> in vLLM 0.31, in their order (docs/protocol/engine-core.md, 4).</summary>
    public static readonly string[] RequestFields =
    [
        "request_id",
        "prompt_token_ids",
        "mm_features",
        "sampling_params",
        "pooling_params",
        "arrival_time",
        "lora_request",
        "cache_salt",
        "data_parallel_rank",
        "prompt_embeds",
        "prompt_is_token_ids",
        "client_index",
        "current_wave",
        "priority",
        "trace_headers",
        "resumable",
        "external_req_id",
        "reasoning_ended",
        "reasoning_parser_kwargs",
        "abort_immediately",
        "session_id",
        "kv_hints",
    ];

    public static byte[] PlainRequest => Frame("ADD plain greedy max_tokens=3", 2);

    public static byte[] RichRequest => Frame("ADD seed, top_p, logprobs=1, prompt_logprobs=1, stop_token_ids, kv_transfer_params", 2);

    public static byte[] FirstStep => Frame("output step 1 (prefill)", 0);

    public static byte[] SecondStep => Frame("output step 2", 0);

    public static byte[] LastStep => Frame("output step 3, finish length", 0);

    public static byte[] StepOfLogprobs => Frame("output with logprobs and prompt logprobs (aux frames)", 0);

    public static byte[] IdleStatistics => Frame("idle stats message", 0);

    public static JsonArray ReadArray(ReadOnlySpan<byte> messagePack)
    {
        var reader = new MessagePackReader(messagePack);
        return JsonNode.Parse(MessagePackJson.ReadAsJson(ref reader))!.AsArray();
    }

    private static byte[] Frame(string what, int index) =>
        Convert.FromHexString(
            Golden
                .Text("vllm/engine-core-frames.jsonl")
                .Split('\n', StringSplitOptions.RemoveEmptyEntries)
                .Select(line => JsonDocument.Parse(line).RootElement)
                .Single(line => line.GetProperty("what").GetString() == what)
                .GetProperty("frames_hex")[index]
                .GetString()!
        );
}
