namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>Lets one message through in ten seconds and counts the rest. Thread-safe.</summary>
internal sealed class LogThrottle
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(10);

    private readonly TimeProvider _time;
    private readonly Lock _lock = new();
    private long _last;
    private bool _hasLast;
    private long _suppressed;

    public LogThrottle(TimeProvider time) => _time = time;

    /// <param name="suppressed">Messages since the last that went through.</param>
    public bool TryEnter(out long suppressed)
    {
        lock (_lock)
        {
            if (_hasLast && _time.GetElapsedTime(_last) < Interval)
            {
                _suppressed++;
                suppressed = 0;
                return false;
            }

            suppressed = _suppressed;
            _suppressed = 0;
            _hasLast = true;
            _last = _time.GetTimestamp();
            return true;
        }
    }
}
