using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>What befell a request since its last output, on the engine's clock in seconds; 0 for what did not.</summary>
/// <param name="QueuedAt">Last.</param>
/// <param name="ScheduledAt">First: it may have been preempted since.</param>
/// <param name="Preemptions">How often it was preempted.</param>
internal readonly record struct EngineEvents(double QueuedAt, double ScheduledAt, int Preemptions)
{
    private const long Queued = 1;
    private const long Scheduled = 2;
    private const long Preempted = 3;

    /// <summary><c>[{"type", "timestamp"}]</c> (docs/protocol/engine-core.md, 5).</summary>
    /// <exception cref="Protocol.ProtocolException">It is no such list.</exception>
    public static EngineEvents Read(ReadOnlySpan<byte> events)
    {
        var found = default(EngineEvents);
        if (events.IsEmpty)
        {
            return found;
        }

        var reader = new MessagePackReader(events);
        for (var left = reader.ReadArrayHeader(); left > 0; left--)
        {
            var (type, timestamp) = ReadOne(ref reader);
            found = type switch
            {
                Queued => found with { QueuedAt = timestamp },
                Scheduled when found.ScheduledAt == 0 => found with { ScheduledAt = timestamp },
                Preempted => found with { Preemptions = found.Preemptions + 1 },
                _ => found,
            };
        }

        return found;
    }

    private static (long Type, double Timestamp) ReadOne(ref MessagePackReader reader)
    {
        var (type, timestamp) = (0L, 0.0);
        for (var left = reader.ReadMapHeader(); left > 0; left--)
        {
            switch (reader.ReadStringBytes())
            {
                case var name when name.SequenceEqual("type"u8):
                    type = reader.ReadInt64();
                    break;
                case var name when name.SequenceEqual("timestamp"u8):
                    timestamp = reader.ReadDouble();
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        return (type, timestamp);
    }
}
