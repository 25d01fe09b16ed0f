using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Engine.Processes;

namespace Dynamo.Vllm.Worker.ServiceManager;

/// <summary>How long the service manager is to wait for the start: on and on while a model loads, but not for one that hangs.</summary>
/// <remarks>
/// In small pieces, since what was granted once is never made shorter. A stage is waited for up to <see cref="StageLimit"/>. One that waits
/// for Python, which alone has no limit of its own, for as long as Python's threads and processes use CPU, read or fetch: looked at in
/// windows, as what polls uses a little for ever. One caller.
/// </remarks>
internal sealed class StartPatience
{
    /// <summary>Longer than the limits of the stages themselves: a store and a broker are tried for two minutes each.</summary>
    public static readonly TimeSpan StageLimit = TimeSpan.FromMinutes(5);

    /// <summary>What Dynamo's operator gives a start. Workers that spin while they wait for each other look busy for ever.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromHours(2);

    /// <summary>At a time; asked for again every second.</summary>
    public static readonly TimeSpan Piece = TimeSpan.FromSeconds(15);

    public static readonly TimeSpan Window = TimeSpan.FromSeconds(10);

    /// <summary>Of a core: processes that wait use less than a thousandth.</summary>
    private const double CpuShareMin = 0.005;

    /// <summary>In a window; less is a page here and there.</summary>
    private const long BytesReadMin = 1 << 20;

    private readonly Func<LoadWork?> _work;
    private readonly TimeSpan? _silenceMax;
    private readonly TimeProvider _time;
    private readonly long _started;
    private IStage? _stage;
    private LoadWork? _before;
    private long _stageStart;
    private long _windowStart;

    /// <param name="work">What has been done so far; null where that cannot be said, since engine processes are on other hosts.</param>
    /// <param name="silenceMax">How long a load may do nothing; null: for ever.</param>
    /// <param name="time">Clock.</param>
    public StartPatience(Func<LoadWork?> work, TimeSpan? silenceMax, TimeProvider time)
    {
        _work = work;
        _silenceMax = silenceMax;
        _time = time;
        _started = time.GetTimestamp();
    }

    /// <summary>From now on; null: what was granted before is not made longer.</summary>
    /// <param name="stage">The one that comes up.</param>
    /// <param name="isPython">It waits for Python.</param>
    public TimeSpan? Grant(IStage stage, bool isPython)
    {
        if (_time.GetElapsedTime(_started) >= Limit)
        {
            return null;
        }

        if (stage != _stage)
        {
            (_stage, _before, _stageStart) = (stage, _work(), _time.GetTimestamp());
            _windowStart = _stageStart;
            return isPython ? _silenceMax ?? StageLimit : Piece;
        }

        if (!isPython)
        {
            return _time.GetElapsedTime(_stageStart) < StageLimit ? Piece : null;
        }

        return HasWorked() ? _silenceMax ?? StageLimit : null;
    }

    private bool HasWorked()
    {
        var elapsed = _time.GetElapsedTime(_windowStart);
        if (elapsed < Window)
        {
            return false;
        }

        var (before, now) = (_before, _work());
        (_before, _windowStart) = (now, _time.GetTimestamp());
        if (_silenceMax is null || before is not { } then || now is not { } work)
        {
            return true;
        }

        // A process that has ended takes its share with it, and something happened.
        // However slow the line is, each byte of the model is one less.
        return work.Cpu < then.Cpu
            || work.Cpu - then.Cpu >= elapsed * CpuShareMin
            || work.BytesRead - then.BytesRead >= BytesReadMin
            || work.BytesFetched > then.BytesFetched;
    }
}
