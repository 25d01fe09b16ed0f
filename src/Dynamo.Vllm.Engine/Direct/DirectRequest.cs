using System.Text.Json;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Requests;

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

    public int Preemptions { get; private set; }

    /// <summary>On the engine's monotonic clock, in seconds, as those below; 0 until it happens.</summary>
    public double QueuedAt { get; private set; }

    public double ScheduledAt { get; private set; }

    public double FirstTokenAt { get; set; }

    public double LastTokenAt { get; set; }

    /// <summary>What befell it since its last output.</summary>
    public void Note(EngineEvents events)
    {
        QueuedAt = events.QueuedAt == 0 ? QueuedAt : events.QueuedAt;
        ScheduledAt = ScheduledAt == 0 ? events.ScheduledAt : ScheduledAt;
        Preemptions += events.Preemptions;
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
}
