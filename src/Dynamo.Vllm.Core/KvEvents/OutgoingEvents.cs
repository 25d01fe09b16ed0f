using System.Buffers;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>Encoded events of one engine batch, cut into messages. Reused; one owner.</summary>
internal sealed class OutgoingEvents
{
    private readonly ArrayBufferWriter<byte> _payload = new(4096);
    private readonly List<Message> _messages = [];

    public ArrayBufferWriter<byte> Buffer { get; } = new(4096);

    public int MessageCount => _messages.Count;

    public void Clear()
    {
        Buffer.ResetWrittenCount();
        _messages.Clear();
    }

    /// <summary>The next event starts here.</summary>
    public int Begin() => Buffer.WrittenCount;

    /// <summary>An event was written; it joins the last message, or a new one where that is full.</summary>
    /// <returns>Its bytes.</returns>
    public ReadOnlySpan<byte> End(int start, int blocks)
    {
        var bytes = Buffer.WrittenSpan[start..];
        if (
            _messages.Count > 0
            && _messages[^1] is var last
            && last.Events < KvRelayLimits.EventsPerMessageMax
            && last.Blocks + blocks <= KvRelayLimits.BlocksPerMessageMax
        )
        {
            _messages[^1] = last with { Events = last.Events + 1, Blocks = last.Blocks + blocks, Length = last.Length + bytes.Length };
        }
        else
        {
            _messages.Add(new Message(start, bytes.Length, 1, blocks));
        }

        return bytes;
    }

    /// <summary>Payload of a message; valid until the next call.</summary>
    public ReadOnlyMemory<byte> Payload(int message)
    {
        var (start, length, events, _) = _messages[message];
        _payload.ResetWrittenCount();
        new MessagePackWriter(_payload).WriteArrayHeader(events);
        _payload.Write(Buffer.WrittenSpan.Slice(start, length));
        return _payload.WrittenMemory;
    }

    private readonly record struct Message(int Start, int Length, int Events, int Blocks);
}
