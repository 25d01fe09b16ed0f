using System.Net.Sockets;
using System.Text;

namespace Dynamo.Vllm.Testing;

/// <summary>The socket that a service manager listens at, and what came in, in order.</summary>
public sealed class NotifySocket : IDisposable
{
    private const int BytesMax = 4096;

    private readonly TemporaryFolder _folder = new();
    private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
    private readonly Lock _lock = new();
    private readonly List<string> _messages = [];
    private TaskCompletionSource _came = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <param name="isRead">False: what comes in stays in the kernel's queue, which is soon full, until <see cref="Read"/>.</param>
    public NotifySocket(bool isRead = true)
    {
        Path = System.IO.Path.Combine(_folder.Path, "notify");
        _socket.Bind(new UnixDomainSocketEndPoint(Path));
        if (isRead)
        {
            Read();
        }
    }

    /// <summary>For <c>NOTIFY_SOCKET</c>.</summary>
    public string Path { get; }

    public IReadOnlyList<string> Messages
    {
        get
        {
            lock (_lock)
            {
                return [.. _messages];
            }
        }
    }

    public void Read() => _ = ReadAsync();

    /// <summary>Waits until a message from the <paramref name="from"/>th on fits.</summary>
    /// <returns>Its place.</returns>
    public async Task<int> MessageAsync(Predicate<string> fits, TimeSpan limit, int from = 0)
    {
        using var end = new CancellationTokenSource(limit);
        while (true)
        {
            Task next;
            lock (_lock)
            {
                var place = _messages.FindIndex(from, fits);
                if (place >= 0)
                {
                    return place;
                }

                next = _came.Task;
            }

            try
            {
                await next.WaitAsync(end.Token);
            }
            catch (OperationCanceledException)
            {
                throw new TimeoutException($"no such message within {limit.TotalSeconds} s; came: {string.Join(" | ", Messages)}");
            }
        }
    }

    public void Dispose()
    {
        _socket.Dispose();
        _folder.Dispose();
    }

    private async Task ReadAsync()
    {
        var buffer = new byte[BytesMax];
        try
        {
            while (true)
            {
                var length = await _socket.ReceiveAsync(buffer);
                TaskCompletionSource came;
                lock (_lock)
                {
                    _messages.Add(Encoding.UTF8.GetString(buffer, 0, length));
                    (came, _came) = (_came, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously));
                }

                came.SetResult();
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // Disposed.
        }
    }
}
