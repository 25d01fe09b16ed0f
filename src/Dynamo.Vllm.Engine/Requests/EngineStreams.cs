using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>The streams that run. Thread-safe; <c>Deliver</c> and <c>Wake</c> belong to the delivery loop.</summary>
internal sealed class EngineStreams(StreamCommands commands)
{
    private readonly ConcurrentDictionary<ulong, EngineStream> _running = new();
    private readonly TokenTexts _texts = new();

    // Delivery loop only.
    private readonly List<EngineStream> _woken = [];

    public int Count => _running.Count;

    public EngineStream Add(ulong id)
    {
        var stream = new EngineStream(commands, id);
        _running[id] = stream;
        return stream;
    }

    public void Remove(ulong id) => _running.TryRemove(id, out _);

    public bool TryRemove(ulong id, [NotNullWhen(true)] out EngineStream? stream) => _running.TryRemove(id, out stream);

    public void SetText(int token, byte[] utf8) => _texts.Set(token, utf8);

    /// <summary>Without waking the reader yet: see <see cref="Wake"/>. A stream that was given up meanwhile is passed over.</summary>
    public void Deliver(in TokensRecord record)
    {
        if (!_running.TryGetValue(record.Stream, out var stream))
        {
            return;
        }

        if (stream.Deliver(record, _texts, out var wakes))
        {
            _running.TryRemove(record.Stream, out _);
        }

        if (wakes)
        {
            _woken.Add(stream);
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
