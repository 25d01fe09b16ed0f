using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using Dynamo.Vllm.Protocol;

namespace Dynamo.Vllm.Transports.Client;

/// <summary>Takes the connections on which workers answer, and matches them with calls by subject.</summary>
internal sealed class CallHomeListener : IAsyncDisposable
{
    private readonly ConcurrentDictionary<string, WorkerCall> _expected = new();
    private readonly Socket _listener;
    private readonly CancellationTokenSource _stopping = new();
    private readonly Task _accepting;

    public CallHomeListener(IPAddress address)
    {
        _listener = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        _listener.Bind(new IPEndPoint(address, 0));
        _listener.Listen(4096);
        Endpoint = (IPEndPoint)_listener.LocalEndPoint!;
        _accepting = AcceptAsync();
    }

    public IPEndPoint Endpoint { get; }

    public WorkerCall Expect(string subject, PayloadCodec codec)
    {
        var call = new WorkerCall(codec, () => _expected.TryRemove(subject, out _));
        _expected[subject] = call;
        return call;
    }

    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        _listener.Dispose();
        await _accepting.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _stopping.Dispose();
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                var socket = await _listener.AcceptAsync(_stopping.Token).ConfigureAwait(false);
                _ = GreetAsync(socket);
            }
        }
        catch (Exception exception) when (exception is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            // Normal stop.
        }
    }

    private async Task GreetAsync(Socket socket)
    {
        try
        {
            socket.NoDelay = true;
            var stream = new NetworkStream(socket, ownsSocket: true);
            var (header, _) = await WorkerCall.ReadFrameAsync(stream, _stopping.Token).ConfigureAwait(false);
            if ((string?)WorkerCall.ObjectIn(header)["subject"] is { } subject && _expected.TryRemove(subject, out var call))
            {
                call.Attach(stream);
            }
            else
            {
                await stream.DisposeAsync().ConfigureAwait(false); // as frontends do with an unknown subject
            }
        }
        catch (Exception exception)
            when (exception is IOException or OperationCanceledException or SocketException || WorkerCall.IsGarbled(exception))
        {
            socket.Dispose();
        }
    }
}
