using System.Buffers;
using System.Text;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.UnitTests.Protocol;

/// <summary>Requests in vLLM's own form: what the worker acts on is read, the rest is
/// left to vLLM, and what would harm it is refused.</summary>
public sealed class NativeGenerateTests
{
    [Fact]
    public void What_the_worker_acts_on_is_read_and_the_whole_is_kept()
    {
        const string envelope =
            """{"sampling_params":{"n":3,"structured_outputs":{"json":{"type":"object"}},"routed_experts_prompt_start":2,"odd":[1.5,null]},"cache_salt":"s","features":null,"content_parts":[]}""";
        var request = Parse(envelope);
        var native = request.NativeGenerate!;
        Assert.Equal(envelope, Encoding.UTF8.GetString(native.Json.Span));
        Assert.Equal((3, 2, "s"), (native.N, native.RoutedExpertsPromptStart, native.CacheSalt));
        Assert.Equal("""{"type":"object"}""", Encoding.UTF8.GetString(native.JsonSchema!.Value.Span));
        Assert.Equal("s", request.CacheSalt);
    }

    [Fact]
    public void A_salt_of_nvext_goes_before_its_own()
    {
        var request = Parse("""{"sampling_params":{},"cache_salt":"s"}""", ""","nvext":{"cache_salt":"t"}""");
        Assert.Equal("t", request.CacheSalt);
    }

    [Fact]
    public void What_is_not_there_has_the_value_of_vLLM()
    {
        var native = Parse("""{"sampling_params":{"n":"x"}}""").NativeGenerate!;
        Assert.Equal((1, 0, null), (native.N, native.RoutedExpertsPromptStart, native.CacheSalt));
        Assert.Null(native.JsonSchema);
        Assert.Null(Parse("""{"sampling_params":{"structured_outputs":{"regex":"a"}}}""").NativeGenerate!.JsonSchema);
        Assert.Null(Parse("null").NativeGenerate);
    }

    [Theory]
    [InlineData("[]", "extra_args.vllm_tito is of type Array, must be an object")]
    [InlineData("{}", "extra_args.vllm_tito.sampling_params must be an object")]
    [InlineData("""{"sampling_params":5}""", "extra_args.vllm_tito.sampling_params must be an object")]
    [InlineData("""{"sampling_params":{"_bad_words_token_ids":[[]]}}""", "sampling_params._bad_words_token_ids is not a client's to set")]
    [InlineData(
        """{"sampling_params":{"seed":9223372036854775808}}""",
        "sampling_params.seed is 9223372036854775808, above the limit 9223372036854775807"
    )]
    [InlineData(
        """{"sampling_params":{"a":[{"b":18446744073709551615}]}}""",
        "sampling_params.a.b is 18446744073709551615, above the limit 9223372036854775807"
    )]
    [InlineData(
        """{"sampling_params":{"routed_experts_prompt_start":true}}""",
        "sampling_params.routed_experts_prompt_start must be a non-negative integer"
    )]
    [InlineData("""{"sampling_params":{},"cache_salt":""}""", "cache_salt must be a string of 1 to 1024 characters")]
    [InlineData("""{"sampling_params":{},"priority":1.5}""", "priority must be an integer")]
    [InlineData("""{"sampling_params":{},"kv_transfer_params":[]}""", "kv_transfer_params must be an object")]
    [InlineData("""{"sampling_params":{},"content_parts":[{}]}""", "TITO raw multimodal content_parts are not supported")]
    [InlineData(
        """{"sampling_params":{},"features":{}}""",
        "extra_args.vllm_tito.features: multimodal features are not served by this worker"
    )]
    public void What_cannot_be_served_is_named(string envelope, string problem) =>
        Assert.Equal(problem, Assert.Throws<ProtocolException>(() => Parse(envelope)).Message);

    [Fact]
    public void An_envelope_is_bounded()
    {
        var ids = string.Join(',', Enumerable.Repeat("5", Limits.GuidedDecodingBytesMax));
        var exception = Assert.Throws<ProtocolException>(() => Parse($"{{\"sampling_params\":{{\"allowed_token_ids\":[{ids}]}}}}"));
        Assert.StartsWith("extra_args.vllm_tito takes", exception.Message, StringComparison.Ordinal);
    }

    private static PreprocessedRequest Parse(string envelope, string rest = "")
    {
        var body = Encoding.UTF8.GetBytes("""{"token_ids":[1,2,3],"extra_args":{"vllm_tito":""" + envelope + "}" + rest + "}");
        var packed = new ArrayBufferWriter<byte>();
        MessagePackJson.WriteMessagePack(body, packed);
        return PreprocessedRequestParser.Parse(packed.WrittenSpan, PayloadCodec.MessagePack);
    }
}
