using System.Buffers;
using System.Text;
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
            $"\"temperature\":{written},",
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
            """{"request_id":"r","native":{"sampling_params":{"n":2},"cache_salt":"s"},"sampling":{},"cache_salt":"dynamo-cache-salt:s"}""",
            Encode(
                """{"sampling_options":{"n":2},"routing":{"priority":3},"extra_args":{"vllm_tito":{"sampling_params":{"n":2},"cache_salt":"s"}}}"""
            )
        );

    private static string Encode(string body)
    {
        var output = new ArrayBufferWriter<byte>();
        var options = PreprocessedRequestParser.Parse(Encoding.UTF8.GetBytes(body), PayloadCodec.Json);
        RequestEncoder.Write(
            output,
            new EngineRequest
            {
                RequestId = "r",
                Options = options,
                MaxTokens = 1,
            }
        );
        return Encoding.UTF8.GetString(output.WrittenSpan);
    }
}
