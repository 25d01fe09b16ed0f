using System.Runtime.InteropServices;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>Holds readers back so that the items of a stream are an interval apart: tokens that come meanwhile leave in one item.</summary>
/// <remarks>
/// All readers that are held go on together: a step that comes when the interval is over takes them along, else a timer does. A stream is
/// held once at most, so the requests that run are the bound. Thread-safe. docs/operations.md, "Tokens in one item".
/// </remarks>
internal sealed class ItemPace
{
    private readonly TimeSpan _interval;
    private readonly TimeProvider _time;
    private readonly ReaderGroups _groups = new();
    private readonly Lock _lock = new();
    private readonly List<EngineStream> _held = [];
    private readonly ITimer _timer;
    private long _wokenAt;
    private bool _isDue;

    /// <param name="interval">Above zero.</param>
    /// <param name="time">Its clock.</param>
    public ItemPace(TimeSpan interval, TimeProvider time)
    {
        _interval = interval;
        _time = time;
        _wokenAt = time.GetTimestamp();
        _timer = time.CreateTimer(pace => ((ItemPace)pace!).WakeAll(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>They go on now if the last ones did so an interval ago, else when it is over.</summary>
    public void Hold(ReadOnlySpan<EngineStream> streams)
    {
        if (streams.IsEmpty)
        {
            return;
        }

        lock (_lock)
        {
            _held.AddRange(streams);
            var rest = _interval - _time.GetElapsedTime(_wokenAt);
            if (rest <= TimeSpan.Zero)
            {
                Wake();
            }
            else if (!_isDue)
            {
                _isDue = true;
                _timer.Change(rest, Timeout.InfiniteTimeSpan);
            }
        }
    }

    private void WakeAll()
    {
        lock (_lock)
        {
            _isDue = false;
            Wake();
        }
    }

    private void Wake()
    {
        _wokenAt = _time.GetTimestamp();
        _groups.Wake(CollectionsMarshal.AsSpan(_held));
        _held.Clear();
    }
}
