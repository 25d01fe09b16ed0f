using System.Buffers;
using System.Text;
using System.Text.Json.Nodes;
using CsCheck;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Decoders;

namespace Dynamo.Vllm.UnitTests.Protocol.Properties;

/// <summary>Bodies and headers of requests.</summary>
public sealed class RequestProperties
{
    private static readonly byte[][] Bodies =
    [
        .. Golden
            .Json("llm/requests.json")
            .SelectMany(request => request.Value!["worker_requests"]?.AsArray() ?? [])
            .Select(request => request!["preprocessed_request"]!)
            .Where(body => body["token_ids"] is JsonArray)
            .Select(body => Encoding.UTF8.GetBytes(body.ToJsonString())),
    ];

    private static readonly byte[][] Headers = [Header("127.0.0.1:5"), Header("[::1]:65535")];

    [Fact]
    public void A_body_that_is_cut_anywhere_is_refused()
    {
        Assert.True(Bodies.Length > 20, $"{Bodies.Length} bodies");
        foreach (var body in Bodies.Select(Pack).OrderBy(body => body.Length).Take(10))
        {
            for (var length = 0; length < body.Length; length++)
            {
                Assert.False(DecoderProof.Survives(body[..length], cut => PreprocessedRequestParser.Parse(cut, PayloadCodec.MessagePack)));
            }
        }
    }

    [Fact]
    public void Tokens_and_limits_are_read_as_they_were_written() =>
        Gen.Select(Gen.Int[0, int.MaxValue].Array[0, 200], Gen.Int[1, int.MaxValue], Gen.Bool)
            .Sample(
                (tokens, most, isPacked) =>
                {
                    var body = new JsonObject
                    {
                        ["token_ids"] = new JsonArray([.. tokens.Select(token => JsonValue.Create(token))]),
                        ["stop_conditions"] = new JsonObject { ["max_tokens"] = most },
                        ["new_in_a_later_version"] = new JsonObject { ["x"] = new JsonArray(1, null, "y") },
                    };
                    var json = Encoding.UTF8.GetBytes(body.ToJsonString());
                    var read = isPacked
                        ? PreprocessedRequestParser.Parse(Pack(json), PayloadCodec.MessagePack)
                        : PreprocessedRequestParser.Parse(json, PayloadCodec.Json);
                    Assert.Equal(tokens, read.TokenIds);
                    Assert.Equal(most, read.StopConditions.MaxTokens);
                },
                iter: Damaged.Tries / 4
            );

    [Fact]
    public void A_damaged_header_is_read_or_refused() =>
        Damaged
            .Of(Headers)
            .Sample(
                bytes =>
                {
                    var isRead = DecoderProof.Survives(bytes, header => RequestEnvelope.Parse(header, out _));
                    if (isRead)
                    {
                        // What can be answered has an address that can be dialled.
                        Assert.True(RequestEnvelope.TryParseAddress(RequestEnvelope.Parse(bytes, out _).ResponseAddress, out var address));
                        Assert.InRange(address.Port, 1, 65535);
                    }
                },
                iter: Damaged.Tries
            );

    private static byte[] Pack(byte[] json)
    {
        var output = new ArrayBufferWriter<byte>();
        MessagePackJson.WriteMessagePack(json, output);
        return output.WrittenSpan.ToArray();
    }

    private static byte[] Header(string address)
    {
        var info = new JsonObject
        {
            ["address"] = address,
            ["subject"] = "s",
            ["context"] = "id",
            ["stream_type"] = "response",
        };
        return Encoding.UTF8.GetBytes(
            new JsonObject
            {
                ["id"] = "id",
                ["request_type"] = "single_in",
                ["payload_codec"] = "msgpack",
                ["connection_info"] = new JsonObject { ["transport"] = "tcp_server", ["info"] = info.ToJsonString() },
            }.ToJsonString()
        );
    }
}
