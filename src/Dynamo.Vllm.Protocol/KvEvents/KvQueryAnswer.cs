using System.Buffers;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>Answers to a recovery query, as the bare value of a response item.</summary>
/// <remarks>
/// <code>
/// { "TreeDump": { events, last_event_id, reset_scope: "all" } } | { "Events": { events, last_event_id } }
/// | { "TooNew": { requested_start, requested_end, newest_available } } | { "InvalidRange": { start_id, end_id } }
/// | { "TreeDumpFailed": { last_event_id, message } } | { "Error": text }
/// </code>
/// kv-and-load.md, 8. Golden file: tests/golden/kv/kv-query-official.json.
/// </remarks>
public static class KvQueryAnswer
{
    /// <summary>Begins a dump; exactly <paramref name="events"/> encoded events follow, then <see cref="EndTreeDump"/>.</summary>
    public static void BeginTreeDump(IBufferWriter<byte> output, int events)
    {
        var writer = Begin(output, "TreeDump"u8, 3);
        writer.WriteString("events"u8);
        writer.WriteArrayHeader(events);
    }

    public static void EndTreeDump(IBufferWriter<byte> output, ulong lastEventId)
    {
        var writer = new MessagePackWriter(output);
        writer.WriteString("last_event_id"u8);
        writer.WriteInteger(lastEventId);
        writer.WriteString("reset_scope"u8);
        writer.WriteString("all"u8);
    }

    /// <summary>Begins a range; exactly <paramref name="events"/> encoded events follow, then <see cref="EndEvents"/>.</summary>
    public static void BeginEvents(IBufferWriter<byte> output, int events)
    {
        var writer = Begin(output, "Events"u8, 2);
        writer.WriteString("events"u8);
        writer.WriteArrayHeader(events);
    }

    public static void EndEvents(IBufferWriter<byte> output, ulong lastEventId)
    {
        var writer = new MessagePackWriter(output);
        writer.WriteString("last_event_id"u8);
        writer.WriteInteger(lastEventId);
    }

    /// <summary>The range starts after the newest event. The reference reports the newest one as the requested end, too.</summary>
    public static void WriteTooNew(IBufferWriter<byte> output, ulong start, ulong? end, ulong newest)
    {
        var writer = Begin(output, "TooNew"u8, 3);
        writer.WriteString("requested_start"u8);
        writer.WriteInteger(start);
        writer.WriteString("requested_end"u8);
        writer.WriteInteger(end ?? newest);
        writer.WriteString("newest_available"u8);
        writer.WriteInteger(newest);
    }

    public static void WriteInvalidRange(IBufferWriter<byte> output, ulong start, ulong end)
    {
        var writer = Begin(output, "InvalidRange"u8, 2);
        writer.WriteString("start_id"u8);
        writer.WriteInteger(start);
        writer.WriteString("end_id"u8);
        writer.WriteInteger(end);
    }

    public static void WriteTreeDumpFailed(IBufferWriter<byte> output, ulong lastEventId, string message)
    {
        var writer = Begin(output, "TreeDumpFailed"u8, 2);
        writer.WriteString("last_event_id"u8);
        writer.WriteInteger(lastEventId);
        writer.WriteString("message"u8);
        writer.WriteString(message);
    }

    public static void WriteError(IBufferWriter<byte> output, string message)
    {
        var writer = new MessagePackWriter(output);
        writer.WriteMapHeader(1);
        writer.WriteString("Error"u8);
        writer.WriteString(message);
    }

    private static MessagePackWriter Begin(IBufferWriter<byte> output, ReadOnlySpan<byte> kind, int fields)
    {
        var writer = new MessagePackWriter(output);
        writer.WriteMapHeader(1);
        writer.WriteString(kind);
        writer.WriteMapHeader(fields);
        return writer;
    }
}
