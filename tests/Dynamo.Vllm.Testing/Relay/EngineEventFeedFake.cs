using System.Buffers.Binary;
using System.Collections.Concurrent;
using Dynamo.Vllm.Core.KvEvents;

namespace Dynamo.Vllm.Testing.Relay;

/// <summary>A feed that a test speaks through.</summary>
public sealed class EngineEventFeedFake : IEngineEventFeed
{
    private readonly ConcurrentDictionary<string, IEngineEventSink> _sinks = new();
    private readonly SemaphoreSlim _subscribed = new(0);

    /// <summary>Tell the sinks at once that they are connected.</summary>
    public bool Connects { get; init; } = true;

    public IEnumerable<string> Endpoints => _sinks.Keys;

    /// <summary>Completes once for each endpoint that is run.</summary>
    public async Task SubscribedAsync() =>
        Assert.True(await _subscribed.WaitAsync(TimeSpan.FromSeconds(30)), "nothing subscribed within 30 s");

    public async Task RunAsync(string endpoint, IEngineEventSink sink, CancellationToken cancellationToken)
    {
        _sinks[endpoint] = sink;
        _subscribed.Release();
        if (Connects)
        {
            sink.OnConnected();
        }

        await Task.Delay(Timeout.InfiniteTimeSpan, cancellationToken);
    }

    public ValueTask SendAsync(string endpoint, ulong sequence, byte[] payload)
    {
        var number = new byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64BigEndian(number, sequence);
        return _sinks[endpoint].OnMessageAsync(new EngineMessage(3, number, payload));
    }
}
