using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Direct;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.UnitTests.Engine.Direct;

public sealed class RequestTemplateTests
{
    private static readonly RequestLimits Limits = new(LongestPrompt: 50, HighestToken: 1000, LeastTokens: 2);

    private readonly RequestTemplate _template = new(EngineFrames.PlainRequest, EngineFrames.RequestFields, Limits);

    [Fact]
    public void A_request_is_what_vllm_wrote_but_for_what_it_has_of_its_own()
    {
        var request = Request("""{"routing":{"priority":4}}""", [5, 6, 700], maxTokens: 70_000);
        request.Options.CacheSalt = "s";
        request.Options.SessionId = "agent";
        var written = Write(request, "id-0000000a", 12.5);
        var expected = EngineFrames.ReadArray(EngineFrames.PlainRequest);
        expected[0] = "id-0000000a";
        expected[1] = new JsonArray(5, 6, 700);
        expected[3]!["max_tokens"] = 70_000;
        expected[5] = 12.5;
        expected[7] = "dynamo-cache-salt:s";
        expected[11] = 0; // the client, which is us
        expected[13] = -4;
        expected[16] = "id";
        expected[20] = "agent";
        Assert.Equal(expected.ToJsonString(), written.ToJsonString());
    }

    [Fact]
    public void What_a_request_does_not_have_is_nothing()
    {
        var written = Write(Request("{}", [1], 2), "x-1", 1);
        Assert.All([7, 14, 20], position => Assert.Null(written[position]));
        Assert.Equal(0, (int)written[13]!);
    }

    [Fact]
    public void Trace_context_goes_along()
    {
        var request = new EngineRequest
        {
            RequestId = "id",
            Options = Request("{}", [1], 2).Options,
            MaxTokens = 2,
            TraceHeaders = new Dictionary<string, string> { ["traceparent"] = "00-1-2-01" },
        };
        Assert.Equal("""{"traceparent":"00-1-2-01"}""", Write(request, "x-1", 1)[14]!.ToJsonString());
    }

    [Fact]
    public void A_hand_over_becomes_one_more_parameter()
    {
        var request = new EngineRequest
        {
            RequestId = "id",
            Options = Request("{}", [1], 2).Options,
            MaxTokens = 9,
            KvTransferParamsJson = Encoding.UTF8.GetBytes("""{"do_remote_decode":true,"remote_block_ids":[[1,2]],"tp":1.5}"""),
        };
        Assert.True(_template.Fits(request));
        var sampling = Write(request, "x-1", 1)[3]!.AsObject();
        var plain = Write(Request("{}", [1], 9), "x-1", 1)[3]!.AsObject();
        Assert.Equal(
            """{"kv_transfer_params":{"do_remote_decode":true,"remote_block_ids":[[1,2]],"tp":1.5}}""",
            sampling["extra_args"]!.ToJsonString()
        );
        sampling.Remove("extra_args");
        Assert.Equal(plain.ToJsonString(), sampling.ToJsonString());
    }

    [Fact]
    public void A_hand_over_beside_other_extra_arguments_goes_the_long_way()
    {
        var template = new RequestTemplate(EngineFrames.RichRequest, EngineFrames.RequestFields, Limits);
        var plain = Request("{}", [1], 9);
        var handedOver = new EngineRequest
        {
            RequestId = "id",
            Options = plain.Options,
            MaxTokens = 9,
            KvTransferParamsJson = "{}"u8.ToArray(),
        };
        Assert.True(template.Fits(plain));
        Assert.False(template.Fits(handedOver));
    }

    [Theory]
    [InlineData(1, 1, 2, true)]
    [InlineData(50, 1000, 2, true)]
    [InlineData(0, 0, 2, false)]
    [InlineData(51, 1, 2, false)]
    [InlineData(3, 1001, 2, false)]
    [InlineData(3, -1, 2, false)]
    [InlineData(3, 1, 1, false)]
    public void What_vllm_would_refuse_goes_its_own_way(int length, int token, int maxTokens, bool fits) =>
        Assert.Equal(fits, _template.Fits(Request("{}", [.. Enumerable.Repeat(token, length)], maxTokens)));

    [Fact]
    public void An_array_with_another_number_of_fields_is_refused() =>
        Assert.Throws<ProtocolException>(() => new RequestTemplate(EngineFrames.PlainRequest, EngineFrames.RequestFields[1..], Limits));

    private JsonArray Write(EngineRequest request, string internalId, double arrival)
    {
        using var message = new EngineMessage(EngineMessageType.Add, 1);
        _template.Write(message, request, internalId, arrival);
        const int headBytes = 12; // a frame with the type, and the head of the one with the body
        return EngineFrames.ReadArray(message.Complete().Span[headBytes..]);
    }

    private static EngineRequest Request(string body, int[] tokens, int maxTokens)
    {
        var options = PreprocessedRequestParser.Parse(Encoding.UTF8.GetBytes(body), PayloadCodec.Json);
        options.TokenIds = tokens;
        return new EngineRequest
        {
            RequestId = "id",
            Options = options,
            MaxTokens = maxTokens,
        };
    }
}
