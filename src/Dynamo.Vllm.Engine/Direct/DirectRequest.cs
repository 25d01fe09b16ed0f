using System.Text.Json;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>A request that the engine has from us, and what vLLM's front end would note about it.</summary>
/// <remarks>Changed by the output loop alone.</remarks>
internal sealed class DirectRequest(EngineStream stream, string internalId, EngineRequest request, double arrivalTime)
{
    private readonly int? _remoteCachedTokens = ReadRemoteCachedTokens(request.KvTransferParamsJson);

    public EngineStream Stream { get; } = stream;

    public string InternalId { get; } = internalId;

    public int PromptTokens { get; } = request.Options.TokenIds.Length;

    public int MaxTokens { get; } = request.MaxTokens;

    /// <summary>Unix time in seconds.</summary>
    public double ArrivalTime { get; } = arrivalTime;

    /// <summary>Nothing has come of it yet.</summary>
    public bool IsPrefilling { get; set; } = true;

    public int CachedTokens { get; private set; }

    public int GeneratedTokens { get; set; }

    public int Preemptions { get; set; }

    /// <summary>On the engine's monotonic clock, in seconds, as those below; 0 until it happens.</summary>
    public double QueuedAt { get; set; }

    public double ScheduledAt { get; set; }

    public double FirstTokenAt { get; set; }

    public double LastTokenAt { get; set; }

    /// <summary>Events of the request since its last output: <c>[{"type", "timestamp"}]</c>.</summary>
    /// <returns>How often it was preempted.</returns>
    public int NoteEvents(ReadOnlySpan<byte> events)
    {
        var preemptions = 0;
        var reader = new MessagePackReader(events);
        for (var left = reader.ReadArrayHeader(); left > 0; left--)
        {
            var (type, timestamp) = ReadEvent(ref reader);
            switch (type)
            {
                case 1:
                    QueuedAt = timestamp;
                    break;
                case 2 when ScheduledAt == 0: // the first time: it may have been preempted since
                    ScheduledAt = timestamp;
                    break;
                case 3:
                    preemptions++;
                    break;
                default:
                    break;
            }
        }

        Preemptions += preemptions;
        return preemptions;
    }

    /// <summary>Where its prompt came from. What a prefill worker found in its cache counts, where there was one.</summary>
    public void NotePrefill(PrefillCounts prefill) => CachedTokens = _remoteCachedTokens ?? (int)prefill.Cached;

    private static int? ReadRemoteCachedTokens(ReadOnlyMemory<byte>? kvTransferParamsJson)
    {
        if (kvTransferParamsJson is not { } json)
        {
            return null;
        }

        using var document = JsonDocument.Parse(json);
        return
            document.RootElement.ValueKind == JsonValueKind.Object
            && document.RootElement.TryGetProperty("remote_prefill_cached_tokens", out var cached)
            && cached.ValueKind == JsonValueKind.Number
            && cached.TryGetInt32(out var count)
            ? count
            : null;
    }

    private static (long Type, double Timestamp) ReadEvent(ref MessagePackReader reader)
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
