using System.Buffers;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Framing;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.UnitTests.Protocol;

using Dynamo.Vllm.Testing;

public sealed class WireFrameTests
{
    private static readonly JsonObject Frames = Golden.Json("llm/wire-frames.json");

    public static TheoryData<string> Errors() =>
        new(Frames.Select(pair => pair.Key).Where(name => name.StartsWith("raise_first", StringComparison.Ordinal)));

    public static TheoryData<string> Requests() => new(Golden.Json("llm/requests.json").Select(pair => pair.Key));

    [Theory]
    [MemberData(nameof(Errors))]
    public void Error_items_equal_the_reference_byte_for_byte(string name)
    {
        var payload = Frames[name]!["payloads"]![0]!;
        var error = payload["decoded"]!["data"]!["error"]!;
        var output = new ArrayBufferWriter<byte>();
        ResponseEncoder.WriteError(output, Build(name, error));
        Assert.Equal(payload["payload_msgpack_hex"]!.GetValue<string>(), Convert.ToHexStringLower(output.WrittenSpan));
    }

    [Fact]
    public void Final_frame_equals_the_reference()
    {
        var output = new ArrayBufferWriter<byte>();
        ResponseEncoder.WriteFinal(output);
        Assert.Equal(
            Frames["empty_stream"]!["payloads"]![0]!["payload_msgpack_hex"]!.GetValue<string>(),
            Convert.ToHexStringLower(output.WrittenSpan)
        );
    }

    [Fact]
    public void Token_item_equals_the_reference()
    {
        var output = new ArrayBufferWriter<byte>();
        ResponseEncoder.WriteDelta(output, new TokenDelta { TokenIds = new[] { 45 } });
        Assert.Equal(
            Frames["raise_after_RuntimeError"]!["payloads"]![0]!["payload_msgpack_hex"]!.GetValue<string>(),
            Convert.ToHexStringLower(output.WrittenSpan)
        );
    }

    [Fact]
    public void Messages_are_transcoded_to_json_and_back_without_loss()
    {
        foreach (var (_, frame) in Frames)
        {
            foreach (var payload in frame!["payloads"]!.AsArray())
            {
                var packed = Convert.FromHexString(payload!["payload_msgpack_hex"]!.GetValue<string>());
                var json = new ArrayBufferWriter<byte>();
                MessagePackJson.Transcode(packed, json);
                Assert.True(
                    JsonNode.DeepEquals(payload["decoded"], JsonNode.Parse(json.WrittenSpan))
                        || payload["decoded"]!.ToJsonString().Contains("__", StringComparison.Ordinal)
                );
            }
        }
    }

    [Theory]
    [MemberData(nameof(Requests))]
    public void Every_captured_request_is_parsed_in_both_codecs(string name)
    {
        foreach (var worker in Golden.Json("llm/requests.json")[name]!["worker_requests"]?.AsArray() ?? [])
        {
            var body = worker!["preprocessed_request"]!;
            if (body["token_ids"] is JsonObject cut)
            {
                // The capture writes very long prompts as {"__truncated_token_list__":{"length":n,"value":id}}.
                var list = cut["__truncated_token_list__"]!;
                var ids = Enumerable.Repeat(list["value"]!.GetValue<int>(), list["length"]!.GetValue<int>());
                body["token_ids"] = new JsonArray([.. ids.Select(id => JsonValue.Create(id))]);
            }

            var json = System.Text.Encoding.UTF8.GetBytes(body.ToJsonString());
            var packed = new ArrayBufferWriter<byte>();
            MessagePackJson.WriteMessagePack(json, packed);
            var fromJson = PreprocessedRequestParser.Parse(json, PayloadCodec.Json);
            var fromPacked = PreprocessedRequestParser.Parse(packed.WrittenSpan, PayloadCodec.MessagePack);
            Assert.Equal(fromJson.TokenIds, fromPacked.TokenIds);
            Assert.Equal(body["model"]?.GetValue<string>(), fromPacked.Model);
            Assert.Equal(body["stop_conditions"]?["max_tokens"]?.GetValue<int>(), fromPacked.StopConditions.MaxTokens);
            Assert.Equal(body["sampling_options"]?["temperature"]?.GetValue<double>(), fromPacked.SamplingOptions.Temperature);
            Assert.Equal(body["sampling_options"]?["seed"]?.GetValue<long>(), fromPacked.SamplingOptions.Seed);
            Assert.Equal(body["output_options"]?["logprobs"]?.GetValue<int>(), fromPacked.Logprobs);
        }
    }

    [Fact]
    public void Captured_tcp_request_is_split_into_its_parts()
    {
        var frame = Golden.Bytes("runtime/tcp_request.bin");
        Assert.True(RequestFrame.TryReadLength(new ReadOnlySequence<byte>(frame), out var length));
        Assert.Equal(frame.Length, length);
        RequestFrame.Split(frame, out var path, out var headers, out var payload);
        Assert.Equal("4c7b147b073dc94b/p1ns/backend/generate", path);
        Assert.Equal(0x9e, headers.Length);
        var (header, body) = TwoPartMessage.Split(payload, Limits.ControlHeaderBytesMax);
        var envelope = RequestEnvelope.Parse(header, out var problem);
        Assert.Null(problem);
        Assert.Equal(PayloadCodec.MessagePack, envelope.Codec);
        Assert.StartsWith("be2b13dd", envelope.Id, StringComparison.Ordinal);
        Assert.Equal("127.0.0.1:41901", envelope.ResponseAddress);
        Assert.NotEmpty(PreprocessedRequestParser.Parse(body.Span, envelope.Codec).TokenIds);
    }

    [Fact]
    public void A_frame_length_is_known_only_when_all_lengths_have_arrived()
    {
        var frame = Golden.Bytes("runtime/tcp_request.bin");
        var payloadLengthEnd = 2 + 0x26 + 2 + 0x9e + 4;
        for (var cut = 0; cut < frame.Length; cut++)
        {
            Assert.Equal(cut >= payloadLengthEnd, RequestFrame.TryReadLength(new ReadOnlySequence<byte>(frame, 0, cut), out _));
        }
    }

    [Fact]
    public void A_body_cut_at_any_byte_is_refused_and_never_misread()
    {
        RequestFrame.Split(Golden.Bytes("runtime/tcp_request.bin"), out _, out _, out var payload);
        var (_, body) = TwoPartMessage.Split(payload, Limits.ControlHeaderBytesMax);
        for (var cut = 0; cut < body.Length; cut++)
        {
            var part = body[..cut].ToArray();
            Assert.Throws<ProtocolException>(() => PreprocessedRequestParser.Parse(part, PayloadCodec.MessagePack));
        }
    }

    [Theory]
    [InlineData("""{"token_ids":[1,2.5]}""", "token_ids[1] is 2.5")]
    [InlineData("""{"token_ids":[1],"sampling_options":{"seed":"x"}}""", "sampling_options.seed")]
    [InlineData(
        """{"token_ids":[1],"extra_args":{"sampling_options":{"bad_words_token_ids":[[1],[]]}}}""",
        "bad_words_token_ids[1] is an empty list"
    )]
    [InlineData("""{"token_ids":[1],"stop_conditions":{"max_tokens":4294967296}}""", "stop_conditions.max_tokens is 4294967296")]
    [InlineData("""{"token_ids":{"a":1}}""", "token_ids is of type Map")]
    [InlineData("""[1]""", "not a map")]
    public void Wrong_types_are_refused_with_field_value_and_limit(string json, string message)
    {
        var exception = Assert.Throws<ProtocolException>(() =>
            PreprocessedRequestParser.Parse(System.Text.Encoding.UTF8.GetBytes(json), PayloadCodec.Json)
        );
        Assert.Contains(message, exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(3)]
    [InlineData(7)]
    public void Packed_token_ids_must_be_whole_integers(int bytes)
    {
        var output = new ArrayBufferWriter<byte>();
        var writer = new MessagePackWriter(output);
        writer.WriteMapHeader(1);
        writer.WriteString("token_ids"u8);
        writer.WriteBinary(new byte[bytes]);
        var exception = Assert.Throws<ProtocolException>(() =>
            PreprocessedRequestParser.Parse(output.WrittenSpan, PayloadCodec.MessagePack)
        );
        Assert.Equal($"packed token_ids byte length {bytes} is not a multiple of 4", exception.Message);
    }

    private static DynamoError Build(string name, JsonNode error)
    {
        var message = error["message"]!.GetValue<string>();
        return name["raise_first_".Length..] switch
        {
            "InvalidArgument" => DynamoError.InvalidArgument(message),
            "ValueError" or "TypeError" => DynamoError.InvalidArgumentPrivate(message),
            "Cancelled" or "CancelledError" => DynamoError.Cancelled(message),
            "CannotConnect" => DynamoError.CannotConnect(message),
            "Disconnected" => DynamoError.Disconnected(message),
            "ConnectionTimeout" => DynamoError.ConnectionTimeout(message),
            "EngineShutdown" or "GeneratorExit" => DynamoError.EngineShutdown(message),
            "StreamIncomplete" => DynamoError.StreamIncomplete(message),
            "WorkerUnavailable" => DynamoError.WorkerUnavailable(message),
            var http when http.StartsWith("HttpError_", StringComparison.Ordinal) => DynamoError.Http(
                int.Parse(http["HttpError_".Length..], System.Globalization.CultureInfo.InvariantCulture),
                JsonNode.Parse(message)!["message"]!.GetValue<string>()
            ),
            _ => DynamoError.Unknown(message),
        };
    }
}
