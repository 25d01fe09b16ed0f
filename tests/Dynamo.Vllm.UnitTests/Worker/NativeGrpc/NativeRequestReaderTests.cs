using System.Text;
using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.UnitTests.Worker.GrpcRequests;
using Dynamo.Vllm.Worker.GrpcRequests;
using Dynamo.Vllm.Worker.NativeGrpc;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;
using Google.Protobuf;
using Grpc.Core;

namespace Dynamo.Vllm.UnitTests.Worker.NativeGrpc;

public sealed class NativeRequestReaderTests
{
    private static readonly JsonParser Json = new(JsonParser.Settings.Default);

    private static readonly EngineDescription Engine = EngineSample.TwoRanks with { VocabularySize = 500 };

    [Fact]
    public void What_is_not_said_is_greedy_text_up_to_the_end_of_the_context()
    {
        var read = Read("""{"token_ids":{"ids":[1,2]}}""");
        Assert.Equal([1, 2], read.Request.TokenIds);
        Assert.Equal(0, read.Request.SamplingOptions.Temperature);
        Assert.Null(read.Request.SamplingOptions.TopP);
        Assert.Null(read.Request.SamplingOptions.MinP);
        Assert.Null(read.Request.SamplingOptions.TopK);
        Assert.Null(read.Request.SamplingOptions.RepetitionPenalty);
        Assert.Null(read.Request.StopConditions.MaxTokens);
        Assert.Null(read.Request.Model);
        Assert.Equal(new AnswerForm(PromptTokens: false, null, Text: true, Tokens: false, null), read.Form);
        Assert.Equal((null, null), (read.Text!.Prompt, read.Text.SkipSpecialTokens));
    }

    [Fact]
    public void Every_field_reaches_the_engine_s_request()
    {
        var read = Read(
            """
            {"request_id":"r","model":"m","token_ids":{"ids":[1,2,3,4]},"temperature":0.7,
             "sampling":{"num_sequences":1,"top_k":5,"top_p":0.9,"min_p":0.1,"seed":"-3"},
             "decoding":{"presence_penalty":0.5,"frequency_penalty":-0.5,"repetition_penalty":1.5,
               "logit_bias":{"7":-2.5},"allowed_token_ids":[8,9],"choice":{"choices":["a","b"]}},
             "stopping":{"max_new_tokens":6,"min_new_tokens":2,"stop_token_ids":[10],"stop_strings":["x"],
               "include_stop_strings":true,"ignore_eos":true},
             "response":{"prompt_token_ids":true,"prompt_logprobs":true,"output_token_ids":true,"output_logprobs":true,
               "output_candidates":{"top_n":4},"skip_special_tokens":false},
             "kv":{"bypass_prefix_cache":true,"cache_salt":"dynamo-cache-salt:s"},
             "truncate_prompt_tokens":3,"priority":-5,"session_id":"c"}
            """,
            rank: "3"
        );
        var (request, sampling, stop) = (read.Request, read.Request.SamplingOptions, read.Request.StopConditions);
        Assert.Equal([2, 3, 4], request.TokenIds);
        Assert.Equal((0.7, 0.9, 0.1, 5, -3), (sampling.Temperature, sampling.TopP, sampling.MinP, sampling.TopK, sampling.Seed));
        Assert.Equal((0.5, -0.5, 1.5), (sampling.PresencePenalty, sampling.FrequencyPenalty, sampling.RepetitionPenalty));
        Assert.Equal(-2.5, sampling.LogitBias![7]);
        Assert.Equal([8, 9], sampling.AllowedTokenIds!);
        Assert.Equal(["a", "b"], sampling.GuidedDecoding!.Choice!);
        Assert.Equal((6, 2, true), (stop.MaxTokens, stop.MinTokens, stop.IgnoreEos));
        Assert.Equal([10], stop.StopTokenIds!);
        Assert.Equal(["x"], read.Text!.StopStrings);
        Assert.False(read.Text.SkipSpecialTokens);
        Assert.True(sampling.IncludeStopStrInOutput);
        Assert.Equal((4, 1), (request.Logprobs, request.PromptLogprobs));
        Assert.True(sampling.SkipReadingPrefixCache);
        Assert.Equal(("s", "c", 5, 3), (request.CacheSalt, request.SessionId, request.Routing.Priority, request.Routing.DataParallelRank));
        Assert.Equal((true, true, true), (read.Form.PromptTokens, read.Form.Text, read.Form.Tokens));
    }

    [Fact]
    public void Text_is_left_to_the_engine_s_tokenizer()
    {
        var text = Read("""{"text":"once","truncate_prompt_tokens":3,"response":{"prompt_token_ids":true,"output_text":false}}""").Text!;
        Assert.Equal(("once", 3, true), (text.Prompt, text.PromptTokensMax, text.NamesPromptTokens));
    }

    [Fact]
    public void Who_wants_no_text_costs_no_text() =>
        Assert.Null(Read("""{"token_ids":{"ids":[1]},"response":{"output_text":false}}""").Text);

    [Fact]
    public void Stop_strings_are_looked_for_also_where_no_text_is_wanted() =>
        Assert.Equal(
            ["x"],
            Read("""{"token_ids":{"ids":[1]},"response":{"output_text":false},"stopping":{"stop_strings":["x"]}}""").Text!.StopStrings
        );

    [Theory]
    [InlineData("{}", 1, null)]
    [InlineData("""{"top_n":3}""", 3, null)]
    [InlineData("""{"top_n":0}""", 0, null)]
    [InlineData("""{"all":true}""", -1, null)]
    [InlineData("""{"token_ids":{"ids":[4,5]}}""", null, "4,5")]
    public void Candidates_are_counted_or_named(string candidates, int? count, string? named)
    {
        var read = Read($$$"""{"token_ids":{"ids":[1]},"response":{"output_logprobs":true,"output_candidates":{{{candidates}}}}}""");
        Assert.Equal(count, read.Request.Logprobs);
        Assert.Equal(named, read.Request.SamplingOptions.LogprobTokenIds is { } ids ? string.Join(',', ids) : null);
    }

    [Theory]
    [InlineData("""{"json":"{\"type\":\"boolean\"}"}""", """{"type":"boolean"}""")]
    [InlineData("""{"json_object":true}""", """{"type":"object"}""")]
    public void Schemas_are_handed_on_as_they_are(string decoding, string schema) =>
        Assert.Equal(
            schema,
            Encoding.UTF8.GetString(
                Read(
                    $$"""{"token_ids":{"ids":[1]},"decoding":{{decoding}}}"""
                ).Request.SamplingOptions.GuidedDecoding!.JsonSchema!.Value.Span
            )
        );

    [Fact]
    public void Whole_numbers_for_a_connector_become_integers_again()
    {
        var read = Read(
            """{"token_ids":{"ids":[1]},"kv":{"kv_transfer_params":{"remote_block_ids":[[1,2]],"remote_port":"5600","x":2.5,"y":null}}}"""
        );
        Assert.Equal(
            """{"remote_block_ids":[[1,2]],"remote_port":"5600","x":2.5,"y":null}""",
            Encoding.UTF8.GetString(read.Request.KvTransferParamsJson!.Value.Span)
        );
    }

    [Fact]
    public async Task An_adapter_is_the_model_of_the_request()
    {
        var adapters = new AdapterTable(new AdapterLimits());
        using (var change = await adapters.BeginChangeAsync("a", default))
        {
            change.Set(new LoadedAdapter("a", 1, "/a"));
        }

        Assert.Equal("a", Read("""{"model":"m","lora_name":"a","token_ids":{"ids":[1]}}""", adapters: adapters).Request.Model);
        Refused(StatusCode.NotFound, "LoRA adapter `b` is not loaded", """{"lora_name":"b","token_ids":{"ids":[1]}}""", adapters: adapters);
    }

    [Theory]
    [InlineData(StatusCode.NotFound, "model `zzz` not found", """{"model":"zzz","token_ids":{"ids":[1]}}""")]
    [InlineData(StatusCode.InvalidArgument, "prompt is required", "{}")]
    [InlineData(
        StatusCode.InvalidArgument,
        "text request `r` must contain at least one prompt token ID",
        """{"request_id":"r","token_ids":{}}"""
    )]
    [InlineData(
        StatusCode.InvalidArgument,
        "token_id(s) [999999] in prompt are out of vocabulary. Vocabulary size: 500",
        """{"token_ids":{"ids":[1,999999]}}"""
    )]
    [InlineData(StatusCode.InvalidArgument, "num_sequences > 1 is not supported", """{"sampling":{"num_sequences":2}}""")]
    [InlineData(StatusCode.InvalidArgument, "temperature must be in [0, 2], got -1", """{"temperature":-1}""")]
    [InlineData(StatusCode.InvalidArgument, "top_p must be in (0, 1], got 2", """{"sampling":{"top_p":2}}""")]
    [InlineData(StatusCode.InvalidArgument, "temperature must be a finite number, got NaN", """{"temperature":"NaN"}""")]
    [InlineData(
        StatusCode.InvalidArgument,
        "frequency_penalty must be a finite number, got Infinity",
        """{"decoding":{"frequency_penalty":"Infinity"}}"""
    )]
    [InlineData(
        StatusCode.InvalidArgument,
        "max_new_tokens must be at most 2147483647, got 3000000000",
        """{"stopping":{"max_new_tokens":3000000000}}"""
    )]
    [InlineData(StatusCode.InvalidArgument, "media: multimodal input is not supported by this server", """{"media":[{}]}""")]
    [InlineData(
        StatusCode.InvalidArgument,
        "kv.ec_transfer_params: encoder caches are not supported by this server",
        """{"kv":{"ec_transfer_params":{}}}"""
    )]
    [InlineData(StatusCode.InvalidArgument, "invalid json schema: ", """{"decoding":{"json":"{nope"}}""")]
    [InlineData(StatusCode.InvalidArgument, "invalid structural_tag: ", """{"decoding":{"structural_tag":""}}""")]
    [InlineData(
        StatusCode.InvalidArgument,
        "response.prompt_candidates: token_ids is not supported for the prompt",
        """{"response":{"prompt_logprobs":true,"prompt_candidates":{"token_ids":{"ids":[1]}}}}"""
    )]
    public void What_cannot_be_served_is_refused_in_the_native_server_s_words(StatusCode code, string text, string request)
    {
        var withPrompt =
            request.Contains("token_ids\":{\"ids\"", StringComparison.Ordinal) || request is "{}" ? request : Prompted(request);
        Refused(code, text, withPrompt);
    }

    [Fact]
    public void Too_long_a_prompt_is_refused_before_it_costs_the_interpreter() =>
        Refused(
            StatusCode.InvalidArgument,
            "this model's maximum context length is 100 tokens, but the prompt contains 101 input tokens",
            $$$"""{"token_ids":{"ids":[{{{string.Join(',', Enumerable.Repeat(1, 101))}}}]}}"""
        );

    [Fact]
    public void Too_many_stop_strings_are_refused() =>
        Refused(
            StatusCode.InvalidArgument,
            "stop_strings holds 257 texts, above the limit 256",
            Prompted($$$"""{"stopping":{"stop_strings":[{{{string.Join(',', Enumerable.Repeat("\"a\"", 257))}}}]}}""")
        );

    [Theory]
    [InlineData("abc", "x-data-parallel-rank metadata must be an unsigned 32-bit integer")]
    [InlineData("-1", "x-data-parallel-rank metadata must be an unsigned 32-bit integer")]
    [InlineData("5", "engine-core error: data parallel rank 5 is not connected to this frontend; connected ranks: [2, 3]")]
    public void A_rank_must_be_one_of_this_worker_s(string rank, string text) =>
        Refused(StatusCode.InvalidArgument, text, """{"token_ids":{"ids":[1]}}""", rank);

    private static string Prompted(string request) =>
        request.Contains("\"token_ids\":{}", StringComparison.Ordinal)
            ? request
            : string.Concat("""{"token_ids":{"ids":[1]},""", request.AsSpan(1));

    private static void Refused(StatusCode code, string text, string request, string? rank = null, AdapterTable? adapters = null)
    {
        var refusal = Assert.Throws<RequestFailedException>(() => Read(request, rank, adapters));
        var status = GrpcStatuses.Of(refusal.Error, hasEngineDied: false);
        Assert.Equal(code, status.StatusCode);
        Assert.StartsWith(text, status.Detail, StringComparison.Ordinal);
    }

    private static NativeRequest Read(string request, string? rank = null, AdapterTable? adapters = null) =>
        NativeRequestReader.Read(Json.Parse<GenerateRequest>(request), "r", rank, Engine, new HashSet<string> { "m" }, adapters);
}
