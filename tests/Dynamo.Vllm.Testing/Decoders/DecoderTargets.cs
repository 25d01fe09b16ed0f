using System.Buffers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Engine.Direct;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Framing;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Protocol.Zmtp;
using Dynamo.Vllm.Transports.Zmq;

namespace Dynamo.Vllm.Testing.Decoders;

/// <summary>Every decoder of ours that is given bytes of a peer.</summary>
public static class DecoderTargets
{
    private static readonly byte[][] Bodies =
    [
        .. Golden
            .Json("llm/requests.json")
            .SelectMany(request => request.Value!["worker_requests"]?.AsArray() ?? [])
            .Select(request => request!["preprocessed_request"]!)
            .Where(body => body["token_ids"] is JsonArray)
            .Select(Bytes),
    ];

    private static readonly byte[][] Envelopes = [Envelope("127.0.0.1:5"), Envelope("[::1]:65535")];

    private static readonly byte[][] Embeddings =
    [
        """{"token_ids":[[1,2,3],[4]],"encoding_format":"float","dimensions":8,"model":"m","truncate_prompt_tokens":-1}"""u8.ToArray(),
        """{"input":["a","\u00e4"],"encoding_format":"base64","model":"m","user":null}"""u8.ToArray(),
        """{"input":[1,2,3],"model":"m"}"""u8.ToArray(),
    ];

    private static readonly byte[][] Classifications =
    [
        """{"input":["a"],"use_activation":true,"truncate_prompt_tokens":2,"truncation_side":"left","priority":1}"""u8.ToArray(),
        """{"input":[1,2],"encoding_format":"bytes","embed_dtype":"float16","endianness":"big","task":"embed","cache_salt":"s"}"""u8.ToArray(),
    ];

    private static readonly byte[][] Texts =
    [
        """
        {"messages":[{"role":"user","content":"\u00e4"}],"chat_template_kwargs":{"a":1},"stop":["b"],"n":2,"temperature":0.5,"max_tokens":3}
        """u8.ToArray(),
        """{"prompt":["a"],"nvext":{"cache_salt":"s","max_thinking_tokens":1},"id":"i","routing":{"dp_rank":0}}"""u8.ToArray(),
        """{"prompt":[1,2],"agent_context":{"session_id":"t"},"annotations":["x"]}"""u8.ToArray(),
    ];

    private static readonly byte[][] Natives =
    [
        """
        {"token_ids":[1,2],"extra_args":{"vllm_tito":{"sampling_params":{"n":2,"seed":9,"structured_outputs":{"json":{"a":[1.5]}},
         "routed_experts_prompt_start":1},"cache_salt":"s","priority":3,"kv_transfer_params":{"a":1},"features":null}}}
        """u8.ToArray(),
    ];

    private static readonly byte[][] Queries =
    [
        """{"worker_id":7,"dp_rank":1,"start_event_id":2,"end_event_id":null,"supports_tree_dump_failed":true,"kind":"recovery"}"""u8.ToArray(),
    ];

    private static readonly byte[][] Frames =
    [
        .. Golden
            .Json("llm/wire-frames.json")
            .SelectMany(frame => frame.Value!["payloads"]!.AsArray())
            .Select(payload => Convert.FromHexString(payload!["payload_msgpack_hex"]!.GetValue<string>())),
    ];

    public static IReadOnlyList<DecoderTarget> All { get; } =
    [
        new("tcp-request", [Golden.Bytes("runtime/tcp_request.bin")], DecodeRequestFrame),
        new("two-part-message", [.. Envelopes.Select(header => Message(header, Bodies[0]))], DecodeMessage),
        new("request-envelope", Envelopes, bytes => RequestEnvelope.Parse(bytes, out _)),
        new("request-json", Bodies, bytes => PreprocessedRequestParser.Parse(bytes, PayloadCodec.Json)),
        new("request-msgpack", Packed(Bodies), bytes => PreprocessedRequestParser.Parse(bytes, PayloadCodec.MessagePack)),
        new("embedding-json", Embeddings, bytes => EmbeddingRequestParser.Parse(bytes, PayloadCodec.Json)),
        new("embedding-msgpack", Packed(Embeddings), bytes => EmbeddingRequestParser.Parse(bytes, PayloadCodec.MessagePack)),
        new("classification-json", Classifications, bytes => ClassificationRequestParser.Parse(bytes, PayloadCodec.Json)),
        new("classification-msgpack", Packed(Classifications), bytes => ClassificationRequestParser.Parse(bytes, PayloadCodec.MessagePack)),
        new("text-json", Texts, bytes => TextRequestParser.Parse(bytes, PayloadCodec.Json)),
        new("text-msgpack", Packed(Texts), bytes => TextRequestParser.Parse(bytes, PayloadCodec.MessagePack)),
        new("native-json", Natives, bytes => PreprocessedRequestParser.Parse(bytes, PayloadCodec.Json)),
        new("native-msgpack", Packed(Natives), bytes => PreprocessedRequestParser.Parse(bytes, PayloadCodec.MessagePack)),
        new("kv-query-json", Queries, bytes => KvQuery.Parse(bytes, PayloadCodec.Json)),
        new("kv-query-msgpack", Packed(Queries), bytes => KvQuery.Parse(bytes, PayloadCodec.MessagePack)),
        new("engine-events", Batches(), DecodeEvents),
        new("engine-outputs", Steps(), DecodeStep),
        new("msgpack-to-json", Frames, bytes => MessagePackJson.Transcode(bytes, new ArrayBufferWriter<byte>())),
        new("msgpack-skip", Frames, Skip),
        new("json-to-msgpack", [.. Frames.Select(ToJson)], bytes => MessagePackJson.WriteMessagePack(bytes, new ArrayBufferWriter<byte>())),
        new("json-tree", Bodies, bytes => ReadTree(bytes, PayloadCodec.Json)),
        new("msgpack-tree", Packed(Bodies), bytes => ReadTree(bytes, PayloadCodec.MessagePack)),
        new("zmtp", [Conversation("SUB"u8), Conversation("XPUB"u8)], DecodeZmtp),
    ];

    public static DecoderTarget Find(string name) =>
        All.FirstOrDefault(target => target.Name == name)
        ?? throw new ArgumentException($"no decoder '{name}'; there are {string.Join(", ", All)}", nameof(name));

    private static byte[][] Batches() =>
        [
            .. Directory
                .GetFiles(Path.Combine(AppContext.BaseDirectory, "golden", "kv"), "vllm-*.payload.bin")
                .Order(StringComparer.Ordinal)
                .Select(File.ReadAllBytes),
        ];

    /// <summary>What the engine sent in steps, the idle message among them.</summary>
    private static byte[][] Steps() =>
        [
            .. Golden
                .Text("vllm/engine-core-frames.jsonl")
                .Split('\n', StringSplitOptions.RemoveEmptyEntries)
                .Select(line => JsonNode.Parse(line)!)
                .Where(line => line["what"]!.GetValue<string>().Contains("output", StringComparison.Ordinal))
                .Select(line => Convert.FromHexString(line["frames_hex"]![0]!.GetValue<string>()))
                .Where(frame => frame.Length > 100), // the others are the types of messages to the engine
        ];

    private static void DecodeStep(byte[] bytes)
    {
        var tokens = new int[16];
        var reader = new EngineOutputsReader(bytes);
        while (reader.TryRead(ref tokens, out var entry))
        {
            EngineEvents.Read(entry.Events);
            if (!entry.Prefill.IsEmpty)
            {
                PrefillCounts.Read(entry.Prefill);
            }
        }

        var statistics = reader.ReadRest(out _);
        if (!statistics.IsEmpty)
        {
            SchedulerSample.Read(statistics);
        }
    }

    private static void DecodeRequestFrame(byte[] bytes)
    {
        if (RequestFrame.TryReadLength(new ReadOnlySequence<byte>(bytes), out var length) && length <= bytes.Length)
        {
            RequestFrame.Split(bytes.AsMemory(0, (int)length), out _, out _, out var payload);
            TwoPartMessage.Split(payload, Limits.ControlHeaderBytesMax);
        }
    }

    private static void DecodeMessage(byte[] bytes)
    {
        var (header, body) = TwoPartMessage.Split(bytes, Limits.ControlHeaderBytesMax);
        RequestEnvelope.Parse(header, out _);
        PreprocessedRequestParser.Parse(body.Span, PayloadCodec.Json);
    }

    private static void DecodeEvents(byte[] bytes)
    {
        var batch = new EngineEventBatch();
        batch.Decode(bytes);
        new KvEventConverter(new KvEventConversion(16)).Convert(batch, bytes, new RouterEventList());
    }

    /// <summary>Its refusal is one of JSON's own.</summary>
    private static void ReadTree(byte[] bytes, PayloadCodec codec)
    {
        try
        {
            JsonPayload.Parse(bytes, codec)?.ToJsonString();
        }
        catch (JsonException exception)
        {
            throw new ProtocolException(exception.Message, exception);
        }
    }

    private static void Skip(byte[] bytes)
    {
        var reader = new MessagePackReader(bytes);
        reader.Skip();
    }

    /// <summary>As a connection reads: the greeting, then frames until something is missing.</summary>
    private static void DecodeZmtp(byte[] bytes)
    {
        if (bytes.Length < ZmtpCodec.GreetingBytes)
        {
            return;
        }

        ZmtpCodec.CheckGreeting(bytes.AsSpan(0, ZmtpCodec.GreetingBytes));
        var rest = new ReadOnlySequence<byte>(bytes.AsMemory(ZmtpCodec.GreetingBytes));
        while (ZmtpCodec.TryReadFrame(ref rest, 1 << 20, out var flags, out var body))
        {
            if ((flags & ZmtpCodec.Command) != 0)
            {
                var name = ZmtpCodec.SplitCommand(body.ToArray(), out var data);
                if (name.SequenceEqual("READY"u8))
                {
                    _ = ZmtpCodec.SocketType(data).Length;
                }
            }
        }
    }

    private static byte[] Conversation(ReadOnlySpan<byte> socketType)
    {
        var output = new ArrayBufferWriter<byte>();
        output.Write(ZmtpCodec.Greeting());
        output.Write(ZmtpCodec.Ready(socketType));
        ZmtpCodec.WriteFrameHeader(output, 0, 6);
        output.Write("\u0001topic"u8);
        ZmtpCodec.WriteFrameHeader(output, ZmtpCodec.More, 300);
        output.Write(new byte[300]);
        return output.WrittenSpan.ToArray();
    }

    private static byte[] Message(byte[] header, byte[] body)
    {
        var output = new ArrayBufferWriter<byte>();
        TwoPartMessage.Write(output, header, body);
        return output.WrittenSpan.ToArray();
    }

    private static byte[] Envelope(string address)
    {
        var info = new JsonObject
        {
            ["address"] = address,
            ["subject"] = "s",
            ["context"] = "id",
            ["stream_type"] = "response",
        };
        return Bytes(
            new JsonObject
            {
                ["id"] = "id",
                ["request_type"] = "single_in",
                ["payload_codec"] = "msgpack",
                ["connection_info"] = new JsonObject { ["transport"] = "tcp_server", ["info"] = info.ToJsonString() },
            }
        );
    }

    private static byte[][] Packed(byte[][] json) =>
        [
            .. json.Select(text =>
            {
                var output = new ArrayBufferWriter<byte>();
                MessagePackJson.WriteMessagePack(text, output);
                return output.WrittenSpan.ToArray();
            }),
        ];

    private static byte[] ToJson(byte[] packed)
    {
        var output = new ArrayBufferWriter<byte>();
        MessagePackJson.Transcode(packed, output);
        return output.WrittenSpan.ToArray();
    }

    private static byte[] Bytes(JsonNode node) => Encoding.UTF8.GetBytes(node.ToJsonString());
}
