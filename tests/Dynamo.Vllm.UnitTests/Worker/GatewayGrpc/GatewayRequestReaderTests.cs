using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.UnitTests.Worker.GrpcRequests;
using Dynamo.Vllm.Worker.GatewayGrpc;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Google.Protobuf;

namespace Dynamo.Vllm.UnitTests.Worker.GatewayGrpc;

public sealed class GatewayRequestReaderTests
{
    private static readonly JsonParser Json = new(JsonParser.Settings.Default);

    private static readonly EngineDescription Engine = EngineSample.TwoRanks with { VocabularySize = 2048 };

    [Fact]
    public void What_is_not_said_is_vLLM_s_own_default_and_not_the_model_s()
    {
        var read = Read("""{"tokenized":{"input_ids":[1,2]}}""");
        var sampling = read.Request.SamplingOptions;
        Assert.Equal([1, 2], read.Request.TokenIds);
        Assert.Equal(
            (1.0, 1.0, 0, 0.0, 1.0),
            (sampling.Temperature, sampling.TopP, sampling.TopK, sampling.MinP, sampling.RepetitionPenalty)
        );
        Assert.Equal((0.0, 0.0), (sampling.PresencePenalty, sampling.FrequencyPenalty));
        Assert.Equal(98, read.Request.StopConditions.MaxTokens);
        Assert.Null(read.Request.StopConditions.IgnoreEos);
        Assert.Null(sampling.N);
        Assert.Null(read.Request.Logprobs);
        Assert.Null(read.Text); // the short way
    }

    [Fact]
    public void Every_field_reaches_the_engine_s_request()
    {
        var read = Read(
            """
            {"request_id":"r","tokenized":{"original_text":"x","input_ids":[1,2,3,4]},"stream":true,
             "sampling_params":{"temperature":0.7,"top_p":0.9,"top_k":5,"min_p":0.1,"frequency_penalty":-0.5,"presence_penalty":0.5,
               "repetition_penalty":1.5,"max_tokens":6,"min_tokens":2,"stop":["x"],"stop_token_ids":[10],"skip_special_tokens":true,
               "ignore_eos":true,"n":3,"choice":{"choices":["a","b"]},"logprobs":4,"prompt_logprobs":-1,"seed":-3,
               "include_stop_str_in_output":true,"logit_bias":{"7":-2.5},"truncate_prompt_tokens":3,"grammar_from_first_token":true},
             "kv_transfer_params_json":"{\"do_remote_decode\":true}","data_parallel_rank":3}
            """
        );
        var (request, sampling, stop) = (read.Request, read.Request.SamplingOptions, read.Request.StopConditions);
        Assert.Equal([2, 3, 4], request.TokenIds);
        Assert.Equal((0.7, 0.9, 0.1, 5, -3), (sampling.Temperature, sampling.TopP, sampling.MinP, sampling.TopK, sampling.Seed));
        Assert.Equal((0.5, -0.5, 1.5), (sampling.PresencePenalty, sampling.FrequencyPenalty, sampling.RepetitionPenalty));
        Assert.Equal((3, -2.5), (sampling.N, sampling.LogitBias![7]));
        Assert.Equal(["a", "b"], sampling.GuidedDecoding!.Choice!);
        Assert.Equal((6, 2, true), (stop.MaxTokens, stop.MinTokens, stop.IgnoreEos));
        Assert.Equal([10], stop.StopTokenIds!);
        Assert.Equal((4, -1), (request.Logprobs, request.PromptLogprobs));
        Assert.Equal((true, 3), (request.ReasoningEnded, request.Routing.DataParallelRank));
        Assert.Equal("""{"do_remote_decode":true}""", Encoding.UTF8.GetString(request.KvTransferParamsJson!.Value.Span));
        Assert.Equal((null, true), (read.Text!.Prompt, read.Text.SkipSpecialTokens));
        Assert.Equal(["x"], read.Text.StopStrings);
        Assert.True(sampling.IncludeStopStrInOutput);
    }

    [Fact]
    public void A_text_is_left_to_the_engine_s_tokenizer_with_what_is_to_be_kept_of_it()
    {
        var read = Read("""{"text":"once","sampling_params":{"truncate_prompt_tokens":-1,"prompt_logprobs":0}}""");
        Assert.Equal(("once", 100, true), (read.Text!.Prompt, read.Text.PromptTokensMax, read.Text.NamesPromptTokens));
        Assert.Empty(read.Text.StopStrings);
        Assert.Empty(read.Request.TokenIds);
    }

    [Fact]
    public void A_place_alone_is_the_older_form_of_a_transfer_and_the_newer_one_wins()
    {
        var read = Read("""{"tokenized":{"input_ids":[1]},"kv_transfer_params":{"remote_host":"h","remote_port":5}}""");
        Assert.Equal("""{"remote_host":"h","remote_port":5}""", Encoding.UTF8.GetString(read.Request.KvTransferParamsJson!.Value.Span));
        read = Read("""{"tokenized":{"input_ids":[1]},"kv_transfer_params":{},"kv_transfer_params_json":"{}"}""");
        Assert.Equal("{}", Encoding.UTF8.GetString(read.Request.KvTransferParamsJson!.Value.Span));
    }

    [Fact]
    public void What_a_real_gateway_sends_goes_the_short_way()
    {
        var requests = Golden
            .Text("grpc/gateway-sends.jsonl")
            .Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => JsonNode.Parse(line)!)
            .Where(call => call["path"]!.GetValue<string>().EndsWith("/Generate", StringComparison.Ordinal))
            .ToList();
        Assert.NotEmpty(requests);
        Assert.All(
            requests,
            call =>
            {
                var read = Read(call["request"]!.ToJsonString());
                Assert.Null(read.Text);
                Assert.Equal(1, read.Request.SamplingOptions.Temperature);
            }
        );
    }

    [Theory]
    [InlineData("{}", "input is required: tokenized or text")]
    [InlineData("""{"tokenized":{}}""", "tokenized.input_ids must contain at least one token id")]
    [InlineData("""{"tokenized":{"input_ids":[1,5000]}}""", "token_id(s) [5000] in prompt are out of vocabulary. Vocabulary size: 2048")]
    [InlineData("""{"tokenized":{"input_ids":[1]},"data_parallel_rank":1}""", "data_parallel_rank 1 is out of range [2, 4).")]
    [InlineData(
        """{"tokenized":{"input_ids":[1]},"sampling_params":{"truncate_prompt_tokens":-2}}""",
        "truncate_prompt_tokens must be -1 or at least 1, got -2"
    )]
    [InlineData(
        """{"tokenized":{"input_ids":[1]},"sampling_params":{"temperature":"NaN"}}""",
        "temperature must be a finite number, got NaN"
    )]
    [InlineData(
        """{"tokenized":{"input_ids":[1]},"sampling_params":{"top_k":4294967295}}""",
        "top_k must be at most 2147483647, got 4294967295"
    )]
    [InlineData("""{"tokenized":{"input_ids":[1]},"sampling_params":{"n":9}}""", "n must be at most the server's max_num_seqs (8), got 9")]
    [InlineData(
        """{"tokenized":{"input_ids":[1]},"kv_transfer_params":{"remote_host":"h"}}""",
        "kv_transfer_params.remote_port must be from 1 to 65535, got 0"
    )]
    [InlineData(
        """{"tokenized":{"input_ids":[1]},"kv_transfer_params_json":"[]"}""",
        "kv_transfer_params_json must be a JSON object, got Array"
    )]
    [InlineData("""{"tokenized":{"input_ids":[1]},"media_refs":{}}""", "media_refs: multimodal input is not supported by this server")]
    [InlineData(
        """{"tokenized":{"input_ids":[1]},"extra_mm_inputs":[{}]}""",
        "extra_mm_inputs: multimodal input is not supported by this server"
    )]
    public void A_mistake_is_named_with_its_value_and_limit(string request, string problem)
    {
        var refusal = Assert.Throws<RequestFailedException>(() => Read(request));
        Assert.Equal((DynamoError.InvalidRequestClass, problem), (refusal.Error.Class, refusal.Error.Text));
    }

    [Fact]
    public void A_prompt_that_is_too_long_is_refused_unless_it_may_be_cut()
    {
        var ids = string.Join(',', Enumerable.Repeat(1, 101));
        var refusal = Assert.Throws<RequestFailedException>(() => Read($$$"""{"tokenized":{"input_ids":[{{{ids}}}]}}"""));
        Assert.Equal("this model's maximum context length is 100 tokens, but the prompt contains 101 input tokens", refusal.Error.Text);
        var cut = $$$"""{"tokenized":{"input_ids":[{{{ids}}}]},"sampling_params":{"truncate_prompt_tokens":-1}}""";
        Assert.Equal(100, Read(cut).Request.TokenIds.Length);
    }

    private static GatewayRequest Read(string json) => GatewayRequestReader.Read(Json.Parse<GenerateRequest>(json), Engine);
}
