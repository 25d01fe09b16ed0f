using System.Buffers;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.UnitTests.Core;

/// <summary>Keeps the items as the wire would carry them.</summary>
internal sealed class ResponsesFake : IResponseWriter
{
    public List<JsonObject> Items { get; } = [];

    public ValueTask WriteAsync(TokenDelta delta)
    {
        var packed = new ArrayBufferWriter<byte>();
        ResponseEncoder.WriteDelta(packed, delta);
        var json = new ArrayBufferWriter<byte>();
        MessagePackJson.Transcode(packed.WrittenSpan, json);
        Items.Add(JsonNode.Parse(json.WrittenSpan)!["data"]!["data"]!.AsObject());
        return ValueTask.CompletedTask;
    }

    public ValueTask WriteAsync(ReadOnlyMemory<byte> json)
    {
        Items.Add(JsonNode.Parse(json.Span)!.AsObject());
        return ValueTask.CompletedTask;
    }

    public ValueTask WriteBareAsync(ReadOnlyMemory<byte> messagePack) => ValueTask.CompletedTask;
}
