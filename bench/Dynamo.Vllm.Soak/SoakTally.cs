using System.Collections.Concurrent;

namespace Dynamo.Vllm.Soak;

/// <summary>What was sent and how it ended. Thread-safe.</summary>
internal sealed class SoakTally
{
    /// <summary>Requests after a restart of the broker that may still be lost: those that were written to the dead one.</summary>
    private static readonly TimeSpan BrokerRecoveryMax = TimeSpan.FromSeconds(5);

    private readonly long[] _outcomes = new long[Enum.GetValues<Outcome>().Length];
    private readonly ConcurrentDictionary<FaultKind, int> _faults = new();
    private readonly ConcurrentQueue<string> _problems = new();
    private readonly Lock _lock = new();
    private readonly List<(DateTime Down, DateTime Up)> _outages = [];
    private long _sent;
    private bool _isRecovering;

    public long Sent => Interlocked.Read(ref _sent);

    public long Answered => _outcomes.Sum();

    /// <summary>Worst time from a started broker to the first request that was accepted.</summary>
    public TimeSpan RecoveryMax { get; private set; }

    public IReadOnlyDictionary<FaultKind, int> Faults => _faults;

    /// <summary>The first problems, in words.</summary>
    public IReadOnlyCollection<string> Problems => _problems;

    public long Count(Outcome outcome) => Interlocked.Read(ref _outcomes[(int)outcome]);

    public void NoteSent() => Interlocked.Increment(ref _sent);

    public void NoteFault(FaultKind kind) => _faults.AddOrUpdate(kind, 1, (_, count) => count + 1);

    public void NoteEnd(Outcome outcome, string what)
    {
        Interlocked.Increment(ref _outcomes[(int)outcome]);
        if (outcome is Outcome.Unexplained or Outcome.Hung)
        {
            NoteProblem($"{outcome}: {what}");
        }
    }

    public void NoteProblem(string problem)
    {
        if (_problems.Count < 20)
        {
            _problems.Enqueue($"{DateTime.UtcNow:HH:mm:ss} {problem}");
        }
    }

    public void NoteBrokerDown()
    {
        lock (_lock)
        {
            _outages.Add((DateTime.UtcNow, DateTime.MaxValue));
        }
    }

    public void NoteBrokerUp()
    {
        lock (_lock)
        {
            _outages[^1] = _outages[^1] with { Up = DateTime.UtcNow };
            _isRecovering = true;
        }
    }

    /// <summary>A request that began at the time was acknowledged.</summary>
    public void NoteAccepted(DateTime began)
    {
        lock (_lock)
        {
            if (_isRecovering && began > _outages[^1].Up)
            {
                _isRecovering = false;
                var took = DateTime.UtcNow - _outages[^1].Up;
                RecoveryMax = took > RecoveryMax ? took : RecoveryMax;
            }
        }
    }

    /// <summary>The broker was away at some time of the request's sending.</summary>
    public bool MetOutage(DateTime began)
    {
        lock (_lock)
        {
            return _outages.Exists(outage => outage.Up == DateTime.MaxValue || outage.Up + BrokerRecoveryMax > began);
        }
    }
}
