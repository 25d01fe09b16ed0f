using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>The scheduler's statistics of one step (docs/protocol/engine-core.md, 5).</summary>
internal readonly record struct SchedulerSample
{
    public int Running { get; private init; }

    public int Waiting { get; private init; }

    /// <summary>Waiting for something else than room.</summary>
    public int Skipped { get; private init; }

    /// <summary>0 to 1.</summary>
    public double KvCacheUsage { get; private init; }

    public PrefixCacheCounts PrefixCache { get; private init; }

    /// <summary>The same of what a KV connector brings; null where there is none.</summary>
    public PrefixCacheCounts? ConnectorCache { get; private init; }

    /// <summary>What was counted before does not count any more.</summary>
    public bool IsReset => PrefixCache.IsReset || ConnectorCache is { IsReset: true };

    /// <summary>There is more in it than these numbers: it goes to vLLM's loggers as it is.</summary>
    public bool IsRare { get; private init; }

    /// <exception cref="Protocol.ProtocolException">It is no such map.</exception>
    public static SchedulerSample Read(ReadOnlySpan<byte> statistics)
    {
        var reader = new MessagePackReader(statistics);
        var (running, waiting, skipped, usage, isRare) = (0, 0, 0, 0.0, false);
        var cache = default(PrefixCacheCounts);
        PrefixCacheCounts? connector = null;
        for (var left = reader.ReadMapHeader(); left > 0; left--)
        {
            switch (reader.ReadStringBytes())
            {
                case var name when name.SequenceEqual("num_running_reqs"u8):
                    running = (int)reader.ReadInt64();
                    break;
                case var name when name.SequenceEqual("num_waiting_reqs"u8):
                    waiting = (int)reader.ReadInt64();
                    break;
                case var name when name.SequenceEqual("num_skipped_waiting_reqs"u8):
                    skipped = (int)reader.ReadInt64();
                    break;
                case var name when name.SequenceEqual("kv_cache_usage"u8):
                    usage = reader.ReadDouble();
                    break;
                case var name when name.SequenceEqual("prefix_cache_stats"u8):
                    cache = PrefixCacheCounts.Read(ref reader);
                    break;
                case var name when name.SequenceEqual("connector_prefix_cache_stats"u8):
                    connector = reader.TryReadNil() ? null : PrefixCacheCounts.Read(ref reader);
                    break;
                case var name when name.SequenceEqual("step_counter"u8) || name.SequenceEqual("current_wave"u8):
                    reader.Skip(); // of data parallelism
                    break;
                default:
                    isRare |= !IsNothing(ref reader);
                    break;
            }
        }

        return new SchedulerSample
        {
            Running = running,
            Waiting = waiting,
            Skipped = skipped,
            KvCacheUsage = usage,
            PrefixCache = cache,
            ConnectorCache = connector,
            IsRare = isRare,
        };
    }

    private static bool IsNothing(ref MessagePackReader reader)
    {
        switch (reader.PeekType())
        {
            case MessagePackType.Nil:
                reader.Skip();
                return true;
            case MessagePackType.Map:
                return IsEmpty(reader.ReadMapHeader() * 2, ref reader);
            case MessagePackType.Array:
                return IsEmpty(reader.ReadArrayHeader(), ref reader);
            default:
                reader.Skip();
                return false;
        }
    }

    private static bool IsEmpty(int values, ref MessagePackReader reader)
    {
        for (var i = 0; i < values; i++)
        {
            reader.Skip();
        }

        return values == 0;
    }
}
