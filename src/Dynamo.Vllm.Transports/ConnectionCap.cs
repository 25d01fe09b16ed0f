using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.Transports;

/// <summary>Bounds the accepted connections of one listener, so that callers cannot use up the descriptors of the process.</summary>
/// <remarks>
/// At the bound a new connection takes the place of the one that has been silent for longest, which
/// is closed: whoever only holds connections cannot keep out those that use them. One that has a
/// request under way is not silent; if all have, the new one is closed. Members are thread-safe.
/// </remarks>
public sealed partial class ConnectionCap
{
    /// <summary>One line for any number of closed connections.</summary>
    private static readonly TimeSpan LogInterval = TimeSpan.FromSeconds(10);

    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly Lock _lock = new();
    private readonly LinkedList<Seat> _byLastUse = []; // the longest silent one first; without those in use
    private int _count;
    private long _closed;
    private long? _logged;

    /// <param name="name">Of the listener, for people.</param>
    /// <param name="max">Connections at a time.</param>
    /// <param name="time">For the pace of log lines.</param>
    /// <param name="logger">Told at the bound.</param>
    public ConnectionCap(string name, int max, TimeProvider time, ILogger logger)
    {
        Name = name;
        Max = max;
        _time = time;
        _logger = logger;
    }

    /// <summary>For uses that meet no strangers, such as tests.</summary>
    public static ConnectionCap Unlimited => new("", int.MaxValue, TimeProvider.System, NullLogger.Instance);

    public string Name { get; }

    public int Max { get; }

    /// <summary>Connections at this moment.</summary>
    public int Open
    {
        get
        {
            lock (_lock)
            {
                return _count;
            }
        }
    }

    /// <summary>Connections closed at the bound so far.</summary>
    public long Closed => Interlocked.Read(ref _closed);

    /// <summary>Counts a connection until the result is disposed.</summary>
    /// <param name="close">Closes it at once; called at most once, on another connection's thread.</param>
    public Seat Admit(Action close)
    {
        var seat = new Seat(this, close);
        Seat? victim = null;
        lock (_lock)
        {
            _count++;
            _byLastUse.AddLast(seat.Node);
            if (_count > Max)
            {
                victim = _byLastUse.First!.Value; // the new one itself if all others are in use
                victim.Leave();
            }
        }

        if (victim is not null)
        {
            var closed = Interlocked.Increment(ref _closed);
            victim.Close();
            Report(closed);
        }

        return seat;
    }

    private void Report(long closed)
    {
        lock (_lock)
        {
            var now = _time.GetTimestamp();
            if (_logged is { } last && _time.GetElapsedTime(last, now) < LogInterval)
            {
                return;
            }

            _logged = now;
        }

        LogFull(_logger, Max, Name, closed);
    }

    [LoggerMessage(
        EventId = 3310,
        Level = LogLevel.Warning,
        Message = "More than {Max} connections to the {Name}: the one that was silent for longest was closed ({Closed} so far). A "
            + "higher limit of open files (ulimit -n) allows more"
    )]
    private static partial void LogFull(ILogger logger, int max, string name, long closed);

    /// <summary>The place of one connection.</summary>
    public sealed class Seat : IDisposable
    {
        private readonly ConnectionCap _owner;
        private int _uses;
        private bool _hasLeft;

        internal Seat(ConnectionCap owner, Action close)
        {
            _owner = owner;
            Close = close;
            Node = new LinkedListNode<Seat>(this);
        }

        internal LinkedListNode<Seat> Node { get; }

        internal Action Close { get; }

        /// <summary>The connection was used just now.</summary>
        public void Touch()
        {
            BeginUse();
            EndUse();
        }

        /// <summary>A request is under way on it, which may take long without a byte.</summary>
        public void BeginUse()
        {
            lock (_owner._lock)
            {
                _uses++;
                if (Node.List is not null)
                {
                    _owner._byLastUse.Remove(Node);
                }
            }
        }

        /// <summary>The request has ended.</summary>
        public void EndUse()
        {
            lock (_owner._lock)
            {
                if (--_uses == 0 && !_hasLeft)
                {
                    _owner._byLastUse.AddLast(Node);
                }
            }
        }

        public void Dispose()
        {
            lock (_owner._lock)
            {
                Leave();
            }
        }

        /// <summary>Under the owner's lock.</summary>
        internal void Leave()
        {
            if (_hasLeft)
            {
                return;
            }

            _hasLeft = true;
            _owner._count--;
            if (Node.List is not null)
            {
                _owner._byLastUse.Remove(Node);
            }
        }
    }
}
