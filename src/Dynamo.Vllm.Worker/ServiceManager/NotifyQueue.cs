using Microsoft.Extensions.Hosting.Systemd;

namespace Dynamo.Vllm.Worker.ServiceManager;

/// <summary>Messages to the service manager, sent in order by a thread that may wait for it. Whoever has one never does.</summary>
/// <remarks>
/// systemd's socket is a datagram one: a manager that is busy or stuck lets it fill, and then a send waits. One that is gone makes it fail,
/// which is said once. A message of which only the last one counts (<see cref="LastCounts"/>) takes the place of its like. Thread-safe.
/// </remarks>
internal sealed partial class NotifyQueue : ISystemdNotifier, IDisposable
{
    /// <summary>All but what <see cref="LastCounts"/> names is said a few times in a life; past this the oldest is dropped.</summary>
    public const int MessagesMax = 32;

    private static readonly string[] LastCounts = ["STATUS", "EXTEND_TIMEOUT_USEC", "WATCHDOG"];

    /// <summary>What is queued at the end, such as why a start failed, has this long.</summary>
    private static readonly TimeSpan EndLimit = TimeSpan.FromSeconds(1);

    private readonly ISystemdNotifier _socket;
    private readonly ILogger<NotifyQueue> _logger;
    private readonly Lock _lock = new();
    private readonly List<ServiceState> _waiting = [];
    private readonly SemaphoreSlim _changed = new(0);
    private readonly Thread? _sender;
    private bool _isClosed;

    /// <param name="socket">May wait and may fail.</param>
    /// <param name="logger">Log.</param>
    public NotifyQueue(ISystemdNotifier socket, ILogger<NotifyQueue> logger)
    {
        _socket = socket;
        _logger = logger;
        if (socket.IsEnabled)
        {
            _sender = new Thread(Send) { Name = "notify", IsBackground = true };
            _sender.Start();
        }
    }

    public bool IsEnabled => _socket.IsEnabled;

    public void Notify(ServiceState state)
    {
        if (_sender is null)
        {
            return;
        }

        lock (_lock)
        {
            var place = LastCounts.Contains(KeyOf(state)) ? _waiting.FindIndex(other => KeyOf(other) == KeyOf(state)) : -1;
            if (place >= 0)
            {
                _waiting[place] = state;
                return;
            }

            if (_waiting.Count == MessagesMax)
            {
                _waiting.RemoveAt(0);
            }

            _waiting.Add(state);
        }

        _changed.Release();
    }

    /// <summary>Sends what waits, as far as that goes in a second; the thread is left behind where it hangs.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            if (_isClosed)
            {
                return;
            }

            _isClosed = true;
        }

        _changed.Release();
        _sender?.Join(EndLimit);
    }

    private static string KeyOf(ServiceState state)
    {
        var text = state.ToString();
        var end = text.IndexOf('=', StringComparison.Ordinal);
        return end < 0 ? text : text[..end];
    }

    private void Send()
    {
        var works = true;
        while (TryTake(out var state))
        {
            try
            {
                _socket.Notify(state);
                works = true;
            }
            catch (Exception exception)
            {
                // Loop supervision (style E3): whatever the socket did, the worker works without it.
                if (works)
                {
                    LogCannotNotify(_logger, exception.Message);
                }

                works = false;
            }
        }
    }

    /// <returns>False once the queue is closed and empty.</returns>
    private bool TryTake(out ServiceState state)
    {
        while (true)
        {
            _changed.Wait();
            lock (_lock)
            {
                if (_waiting.Count > 0)
                {
                    state = _waiting[0];
                    _waiting.RemoveAt(0);
                    return true;
                }

                if (_isClosed)
                {
                    state = default;
                    return false;
                }
            }
        }
    }

    [LoggerMessage(
        EventId = 5114,
        Level = LogLevel.Warning,
        Message = "The service manager cannot be told how this worker does ({Problem}); it works without"
    )]
    private static partial void LogCannotNotify(ILogger logger, string problem);
}
