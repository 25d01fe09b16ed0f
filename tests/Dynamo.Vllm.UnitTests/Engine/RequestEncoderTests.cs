using System.Buffers;
using System.Text;
using System.Text.Json;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.UnitTests.Engine;

public sealed class RequestEncoderTests
{
    [Theory]
    [InlineData("2.0", "2.0")]
    [InlineData("-1", "-1.0")]
    [InlineData("0.7", "0.7")]
    [InlineData("1e30", "1E+30")]
    public void Numbers_with_a_fraction_keep_the_form_that_error_texts_show(string sent, string written) =>
        Assert.Contains(
            $"\"temperature\":{written}}}",
            Encode($"{{\"sampling_options\":{{\"temperature\":{sent}}}}}"),
            StringComparison.Ordinal
        );

    [Fact]
    public void An_empty_list_of_ids_for_logprobs_leaves_their_count_alone_so_that_the_engine_refuses_both() =>
        Assert.Contains(
            "\"logprobs\":2",
            Encode("""{"sampling_options":{"logprob_token_ids":[]},"output_options":{"logprobs":2}}"""),
            StringComparison.Ordinal
        );

    [Fact]
    public void Ids_for_logprobs_replace_their_count() =>
        Assert.DoesNotContain(
            "\"logprobs\"",
            Encode("""{"sampling_options":{"logprob_token_ids":[5]},"output_options":{"logprobs":2}}"""),
            StringComparison.Ordinal
        );

    [Fact]
    public void A_request_in_vLLM_s_own_form_goes_over_as_it_came() =>
        Assert.Equal(
            """{"native":{"sampling_params":{"n":2},"cache_salt":"s"},"sampling":{},"request_id":"r","cache_salt":"dynamo-cache-salt:s"}""",
            Encode(
                """{"sampling_options":{"n":2},"routing":{"priority":3},"extra_args":{"vllm_tito":{"sampling_params":{"n":2},"cache_salt":"s"}}}"""
            )
        );

    [Fact]
    public void What_is_text_is_left_to_the_guest()
    {
        var text = new EngineText
        {
            Prompt = "p",
            PromptTokensMax = 3,
            NamesPromptTokens = true,
            StopStrings = ["x"],
            SkipSpecialTokens = false,
        };
        Assert.Equal(
            """{"sampling":{"stop":["x"],"skip_special_tokens":false},"text":{"prompt":"p","tokens_max":3,"names_tokens":true},"request_id":"r","max_tokens":1}""",
            Encode("{}", text: text)
        );
        Assert.Contains("\"text\":{}", Encode("""{"token_ids":[1]}""", text: new EngineText()), StringComparison.Ordinal);
    }

    [Fact]
    public void What_requests_share_has_none_of_what_each_has_of_its_own()
    {
        const string first =
            """{"token_ids":[1],"sampling_options":{"temperature":0.5},"routing":{"priority":3},"session_id":"a","cache_salt":"s"}""";
        const string second = """{"token_ids":[2,3],"sampling_options":{"temperature":0.5}}""";
        Assert.Equal(Encode(first, isShared: true), Encode(second, "other", 99, isShared: true));
        Assert.NotEqual(Encode(first, isShared: true), Encode(first.Replace("0.5", "0.6", StringComparison.Ordinal), isShared: true));
    }

    [Fact]
    public void The_guest_is_asked_to_teach_how_such_a_request_is_encoded() =>
        Assert.EndsWith(
            """
            "request_id":"r","max_tokens":7,"teach":12}
            """.Trim(),
            Encode("{}", maxTokens: 7, question: 12),
            StringComparison.Ordinal
        );

    private static string Encode(
        string body,
        string id = "r",
        int maxTokens = 1,
        int? question = null,
        bool isShared = false,
        EngineText? text = null
    )
    {
        var output = new ArrayBufferWriter<byte>();
        var options = PreprocessedRequestParser.Parse(Encoding.UTF8.GetBytes(body), PayloadCodec.Json);
        using var json = new Utf8JsonWriter(output, new JsonWriterOptions { SkipValidation = true });
        var request = new EngineRequest
        {
            RequestId = id,
            Options = options,
            MaxTokens = maxTokens,
            Text = text,
        };
        RequestEncoder.WriteShared(json, request);
        if (isShared)
        {
            return Encoding.UTF8.GetString(output.WrittenSpan);
        }

        RequestEncoder.WriteOwn(json, request, question);
        return Encoding.UTF8.GetString(output.WrittenSpan);
    }
}
