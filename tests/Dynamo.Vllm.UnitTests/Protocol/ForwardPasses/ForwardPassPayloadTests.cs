using System.Buffers;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.ForwardPasses;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.UnitTests.Protocol.ForwardPasses;

/// <summary>Refusals are those that the official package's trace made of the same payloads.</summary>
public sealed class ForwardPassPayloadTests
{
    private const string Requests =
        """{"num_prefill_requests":1,"sum_prefill_tokens":2,"var_prefill_length":0.5,"sum_prefill_kv_tokens":3,"num_decode_requests":4,"sum_decode_kv_tokens":5,"var_decode_kv_tokens":0.0}""";

    private const string Queued =
        """{"num_prefill_requests":1,"sum_prefill_tokens":2,"var_prefill_length":0.5,"num_decode_requests":4,"sum_decode_kv_tokens":5,"var_decode_kv_tokens":0.0}""";

    [Fact]
    public void A_captured_pass_is_its_own_json()
    {
        var envelope = Golden.Bytes("kv/zmq-direct-forward-pass-metrics.frame3.bin").AsSpan(EventEnvelope.FrameHeaderBytes);
        var reader = new MessagePackReader(envelope);
        var payload = PayloadOf(ref reader);
        Assert.True(ForwardPassPayload.TryRead(payload, out var json, out var problem), problem);
        var pass = JsonNode.Parse(json.Span)!;
        Assert.Equal(1, pass["version"]!.GetValue<int>());
        Assert.Equal(7, pass["scheduled_requests"]!.AsObject().Count);
        Assert.DoesNotContain((byte)'\n', json.ToArray());
    }

    [Fact]
    public void Members_that_are_not_known_stay_and_floats_are_seen_to_be_some()
    {
        Assert.Null(Problem("extra", """{"a":[1,null,true,"x",0.0,-2.5]}""", out var json));
        Assert.Equal("""{"a":[1,null,true,"x",0.0,-2.5]}""", json!["extra"]!.ToJsonString());
    }

    [Theory]
    [InlineData("version", "2", "FPM payload has unsupported or missing version")]
    [InlineData("version", "1.0", "FPM payload has unsupported or missing version")]
    [InlineData("version", null, "FPM payload has unsupported or missing version")]
    [InlineData("worker_id", "1234", "FPM payload has no string worker_id")]
    [InlineData("dp_rank", "-1", "FPM payload has no non-negative integer dp_rank")]
    [InlineData("counter_id", null, "FPM payload has no non-negative integer counter_id")]
    [InlineData("scheduled_requests", null, "FPM payload has no scheduled_requests map")]
    [InlineData("queued_requests", "[1]", "FPM payload has no queued_requests map")]
    [InlineData("scheduled_requests", "{}", "FPM field num_prefill_requests must be a non-negative integer")]
    [InlineData("wall_time", "\"x\"", "FPM field wall_time must be a finite non-negative number")]
    [InlineData("wall_time", "-1", "FPM field wall_time must be a finite non-negative number")]
    [InlineData("wall_time", null, "FPM field wall_time must be a finite non-negative number")]
    public void What_is_none_is_refused_in_the_reference_s_words(string name, string? value, string expected) =>
        Assert.Equal(expected, Problem(name, value, out _));

    [Fact]
    public void Bytes_that_are_no_pass_are_refused()
    {
        Assert.False(ForwardPassPayload.TryRead([0xc1], out _, out var problem));
        Assert.StartsWith("decoding FPM msgpack", problem, StringComparison.Ordinal);
        Assert.False(ForwardPassPayload.TryRead([0x92, 1, 2], out _, out problem));
        Assert.Equal("FPM payload is not a msgpack map", problem);
        Assert.False(ForwardPassPayload.TryRead(new byte[ForwardPassPayload.BytesMax + 1], out _, out problem));
        Assert.Equal("FPM payload has 16385 bytes, the limit is 16384", problem);
    }

    public static byte[] Pass(int counter, string? name = null, string? value = null)
    {
        var pass = JsonNode
            .Parse(
                $$"""
                {"version":1,"worker_id":"1234","dp_rank":0,"counter_id":{{counter}},"wall_time":0.5,"scheduled_requests":{{Requests}},"queued_requests":{{Queued}}}
                """
            )!
            .AsObject();
        if (name is not null)
        {
            pass.Remove(name);
            if (value is not null)
            {
                pass[name] = JsonNode.Parse(value);
            }
        }

        var output = new ArrayBufferWriter<byte>();
        MessagePackJson.WriteMessagePack(System.Text.Encoding.UTF8.GetBytes(pass.ToJsonString()), output);
        return output.WrittenSpan.ToArray();
    }

    private static string? Problem(string name, string? value, out JsonNode? json)
    {
        var isRead = ForwardPassPayload.TryRead(Pass(1, name, value), out var text, out var problem);
        json = isRead ? JsonNode.Parse(text.Span) : null;
        return problem;
    }

    private static byte[] PayloadOf(ref MessagePackReader reader)
    {
        for (var left = reader.ReadMapHeader(); left > 0; left--)
        {
            if (reader.ReadString() == "payload")
            {
                return reader.ReadBinary().ToArray();
            }

            reader.Skip();
        }

        throw new ProtocolException("no payload");
    }
}
