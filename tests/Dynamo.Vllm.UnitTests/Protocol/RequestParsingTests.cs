using System.Buffers;
using System.Text;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.UnitTests.Protocol;

/// <summary>A client's mistake is an error that names the field, whatever the codec.</summary>
public sealed class RequestParsingTests
{
    [Theory]
    [InlineData("""{"token_ids":[1],"model":"\ud800"}""", "model holds text that is not valid Unicode")]
    [InlineData(
        """{"token_ids":[1],"stop_conditions":{"stop":["a","\udc00b"]}}""",
        "stop_conditions.stop[1] holds text that is not valid Unicode"
    )]
    [InlineData("""{"token_ids":[1],"extra_args":{"x":{"\ud800":1}}}""", "a key of extra_args.x holds text that is not valid Unicode")]
    [InlineData("""{"\ud800":1}""", "a key of the body holds text that is not valid Unicode")]
    public void Half_a_surrogate_pair_is_named(string body, string problem) =>
        Assert.Equal(problem, Refusal(Encoding.UTF8.GetBytes(body), PayloadCodec.Json));

    [Fact]
    public void A_field_that_stands_in_two_places_is_read_in_both_and_the_first_counts()
    {
        const string body = """
            {"token_ids":[1],"reasoning_ended":true,"reasoning_parser_kwargs":{"a":1},"sampling_options":{"skip_reading_prefix_cache":true},
            "mm_processor_kwargs":{"a":1},"extra_args":{"reasoning_ended":false,"reasoning_parser_kwargs":{"b":2},
            "skip_reading_prefix_cache":false,"mm_processor_kwargs":{"b":2},"nvext":{"cache_salt":"s"}}}
            """;
        var request = PreprocessedRequestParser.Parse(Encoding.UTF8.GetBytes(body), PayloadCodec.Json);
        Assert.Equal((true, true, "s"), (request.ReasoningEnded, request.SamplingOptions.SkipReadingPrefixCache, request.CacheSalt));
        Assert.Equal("""{"a":1}""", Encoding.UTF8.GetString(request.ReasoningParserKwargsJson!.Value.Span));
        Assert.Equal("""{"a":1}""", Encoding.UTF8.GetString(request.Multimodal!.ProcessorOptionsJson!.Value.Span));
    }

    [Fact]
    public void Bytes_in_json_that_are_not_utf8_are_named() =>
        Assert.Equal("model holds text that is not valid Unicode", Refusal([.. "{\"model\":\"a"u8, 0xff, .. "\"}"u8], PayloadCodec.Json));

    [Theory]
    [InlineData("model")]
    [InlineData("nvext.cache_salt")]
    [InlineData("agent_context.session_id")]
    [InlineData("sampling_options.guided_decoding.regex")]
    [InlineData("sampling_options.guided_decoding.json")]
    [InlineData("sampling_options.guided_decoding.structural_tag")]
    [InlineData("kv_hint")]
    public void Bytes_in_message_pack_that_are_not_utf8_are_named(string field) =>
        Assert.Equal($"{field} holds text that is not valid UTF-8", Refusal(Nested(field, [0xa2, 0xed, 0xa0]), PayloadCodec.MessagePack));

    [Theory]
    [InlineData("temperature")]
    [InlineData("repetition_penalty")]
    [InlineData("min_p")]
    public void Numbers_that_are_not_finite_are_named(string option)
    {
        var field = $"sampling_options.{option}";
        Assert.Equal(
            $"{field} is Infinity, must be a finite number",
            Refusal(Nested(field, [0xca, 0x7f, 0x80, 0, 0]), PayloadCodec.MessagePack)
        );
        Assert.Equal(
            $"{field} is NaN, must be a finite number",
            Refusal(Nested(field, [0xca, 0x7f, 0xc0, 0, 0]), PayloadCodec.MessagePack)
        );
    }

    [Theory]
    [InlineData(
        """{"sampling_options":{"logit_bias":{"5":1e999}}}""",
        "sampling_options.logit_bias[5] is Infinity, must be a finite number"
    )]
    [InlineData("""{"sampling_options":{"logit_bias":{"x":1}}}""", "sampling_options.logit_bias has a key that is not a token id")]
    [InlineData("""{"prefill_result":5}""", "prefill_result is of type Integer, must be an object")]
    [InlineData(
        """{"prefill_result":{"disaggregated_params":"x"}}""",
        "prefill_result.disaggregated_params is of type String, must be an object"
    )]
    [InlineData(
        """{"prefill_result":{"disaggregated_params":{"kv_transfer_params":[1]}}}""",
        "prefill_result.disaggregated_params.kv_transfer_params is of type Array, must be an object"
    )]
    public void Values_of_a_wrong_kind_are_named(string body, string problem) =>
        Assert.Equal(problem, Refusal(Encoding.UTF8.GetBytes(body), PayloadCodec.Json));

    [Fact]
    public void Transfer_parameters_that_are_null_are_none()
    {
        var body = """{"token_ids":[1],"prefill_result":{"disaggregated_params":{"kv_transfer_params":null}}}"""u8;
        Assert.Null(PreprocessedRequestParser.Parse(body, PayloadCodec.Json).KvTransferParamsJson);
    }

    [Theory]
    [InlineData("2", 2)]
    [InlineData("2.9", 2)]
    [InlineData("true", 1)]
    [InlineData("\"2\"", 2)]
    [InlineData("4294967295", -1)]
    [InlineData("-1", null)]
    [InlineData("\"x\"", null)]
    [InlineData("[]", null)]
    public void Counts_of_logprobs_are_read_as_python_s_int_reads_them(string json, int? count) =>
        Assert.Equal(
            count,
            PreprocessedRequestParser
                .Parse(Encoding.UTF8.GetBytes($"{{\"output_options\":{{\"logprobs\":{json}}}}}"), PayloadCodec.Json)
                .Logprobs
        );

    private static string Refusal(byte[] body, PayloadCodec codec) =>
        Assert.Throws<ProtocolException>(() => PreprocessedRequestParser.Parse(body, codec)).Message;

    /// <summary>Maps within maps, with the raw value in the innermost.</summary>
    private static byte[] Nested(string path, byte[] value)
    {
        var output = new ArrayBufferWriter<byte>();
        var writer = new MessagePackWriter(output);
        foreach (var key in path.Split('.'))
        {
            writer.WriteMapHeader(1);
            writer.WriteString(key);
        }

        output.Write(value);
        return output.WrittenSpan.ToArray();
    }
}
