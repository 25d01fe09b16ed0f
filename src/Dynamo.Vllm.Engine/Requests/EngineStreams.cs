using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>The streams that run. Thread-safe; the guest's delivery loop owns <c>Deliver</c> without a list, and <c>Wake</c>.</summary>
internal sealed class EngineStreams(IStreamCommands commands, ItemPace? pace = null)
{
    private readonly ConcurrentDictionary<ulong, EngineStream> _running = new();
    private readonly TokenTexts _texts = new();

    // Guest's delivery loop only.
    private readonly StreamWakes _wakes = new(pace);

    public int Count => _running.Count;

    /// <summary>How often readers may be woken; null: as often as something comes.</summary>
    public ItemPace? Pace { get; } = pace;

    /// <summary>A stream of a request that the guest gets.</summary>
    public EngineStream Add(ulong id) => Add(id, commands);

    public EngineStream Add(ulong id, IStreamCommands owner)
    {
        var stream = new EngineStream(owner, id);
        _running[id] = stream;
        return stream;
    }

    public void Remove(ulong id) => _running.TryRemove(id, out _);

    public bool TryRemove(ulong id, [NotNullWhen(true)] out EngineStream? stream) => _running.TryRemove(id, out stream);

    public void SetText(int token, byte[] utf8) => _texts.Set(token, utf8);

    /// <summary>Without waking the reader yet: see <see cref="Wake"/>. A stream that was given up meanwhile is passed over.</summary>
    public void Deliver(in TokensRecord record)
    {
        if (_running.TryGetValue(record.Stream, out var stream))
        {
            Deliver(stream, record, _wakes);
        }
    }

    /// <param name="stream">Gets the record.</param>
    /// <param name="record">What it gets.</param>
    /// <param name="wakes">Gets the stream if its reader waits: the caller runs it once it has delivered all that it has.</param>
    /// <returns>True if the stream has ended.</returns>
    public bool Deliver(EngineStream stream, in TokensRecord record, StreamWakes wakes)
    {
        var hasEnded = stream.Deliver(record, _texts, out var isWaiting);
        if (hasEnded)
        {
            _running.TryRemove(stream.Id, out _);
        }

        if (isWaiting)
        {
            wakes.Add(stream, hasEnded);
        }

        return hasEnded;
    }

    /// <summary>The last output of a request that was aborted, where nobody but us makes one.</summary>
    public void EndAborted(EngineStream stream, int promptTokens, int cachedTokens)
    {
        var record = new TokensRecord
        {
            Stream = stream.Id,
            Flags = TokensFlags.Finished,
            Finish = FinishReason.Abort,
            PromptTokens = promptTokens,
            CachedTokens = cachedTokens,
        };
        stream.Deliver(record, _texts, out var wakes);
        _running.TryRemove(stream.Id, out _);
        if (wakes)
        {
            stream.Wake();
        }
    }

    /// <summary>Wakes the readers of what was delivered without a list.</summary>
    public void Wake() => _wakes.Run();

    /// <summary>For the callers they end now; they stay known until the engine has let go of them.</summary>
    public void ReleaseAll(DynamoError error)
    {
        foreach (var (_, stream) in _running)
        {
            stream.Release(error);
        }
    }

    public void FailAll(DynamoError error)
    {
        foreach (var (id, _) in _running)
        {
            if (_running.TryRemove(id, out var stream))
            {
                stream.Fail(error);
            }
        }
    }
}
