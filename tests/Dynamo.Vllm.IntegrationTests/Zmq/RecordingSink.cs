using System.Threading.Channels;
using Dynamo.Vllm.Core.KvEvents;

namespace Dynamo.Vllm.IntegrationTests.Zmq;

/// <summary>Keeps what a feed brings.</summary>
internal sealed class RecordingSink : IEngineEventSink
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly Channel<(int Frames, byte[] Sequence, byte[] Payload)> _messages = Channel.CreateUnbounded<(int, byte[], byte[])>();
    private readonly Channel<string?> _connections = Channel.CreateUnbounded<string?>();

    public void OnConnected() => _connections.Writer.TryWrite(null);

    public void OnDisconnected(string problem) => _connections.Writer.TryWrite(problem);

    public ValueTask OnMessageAsync(EngineMessage message) =>
        _messages.Writer.WriteAsync((message.Frames, message.Sequence.ToArray(), message.Payload.ToArray()));

    public Task<(int Frames, byte[] Sequence, byte[] Payload)> NextAsync() => _messages.Reader.ReadAsync().AsTask().WaitAsync(Patience);

    public async Task ConnectedAsync()
    {
        while (await _connections.Reader.ReadAsync().AsTask().WaitAsync(Patience) is not null) { }
    }

    public async Task<string> DisconnectedAsync()
    {
        while (true)
        {
            if (await _connections.Reader.ReadAsync().AsTask().WaitAsync(Patience) is { } problem)
            {
                return problem;
            }
        }
    }
}
