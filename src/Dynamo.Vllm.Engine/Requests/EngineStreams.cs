using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>The streams that run. Thread-safe; the guest's delivery loop owns <c>Deliver</c> without a list, and <c>Wake</c>.</summary>
internal sealed class EngineStreams(IStreamCommands commands)
{
    private readonly ConcurrentDictionary<ulong, EngineStream> _running = new();
    private readonly TokenTexts _texts = new();

    // Guest's delivery loop only.
    private readonly List<EngineStream> _woken = [];

    public int Count => _running.Count;

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
            Deliver(stream, record, _woken);
        }
    }

    /// <param name="stream">Gets the record.</param>
    /// <param name="record">What it gets.</param>
    /// <param name="woken">Gets the stream if its reader waits: the caller wakes it once it has delivered all that it has.</param>
    /// <returns>True if the stream has ended.</returns>
    public bool Deliver(EngineStream stream, in TokensRecord record, List<EngineStream> woken)
    {
        var hasEnded = stream.Deliver(record, _texts, out var wakes);
        if (hasEnded)
        {
            _running.TryRemove(stream.Id, out _);
        }

        if (wakes)
        {
            woken.Add(stream);
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

    /// <summary>Wakes the readers of what was delivered.</summary>
    /// <remarks>
    /// After the whole batch: a busy engine puts several steps into one, and their tokens leave in one item each instead of one by one.
    /// </remarks>
    public void Wake()
    {
        foreach (var stream in _woken)
        {
            stream.Wake();
        }

        _woken.Clear();
    }

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
