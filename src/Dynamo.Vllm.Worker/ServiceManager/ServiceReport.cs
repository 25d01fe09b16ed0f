using System.Diagnostics;
using System.Globalization;
using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Worker.Stages;
using Microsoft.Extensions.Hosting.Systemd;

namespace Dynamo.Vllm.Worker.ServiceManager;

/// <summary>Tells the service manager how the worker does, all its life long (docs/operations.md, "systemd").</summary>
/// <remarks>
/// 1. READY once every stage is up. 2. STOPPING before anything of a stop. 3. RELOADING around a reload. 4. STATUS when the line changes.
/// 5. EXTEND_TIMEOUT_USEC while a start gets on, and while a stop or a reload is within its own limits. 6. WATCHDOG while no loop that the
/// worker cannot be without stands still and the engine has not been given up. 4 to 6 come from one loop on the pool, so a pool that
/// stands still is silent, too. Nothing here waits for the service manager: see <see cref="NotifyQueue"/>.
/// </remarks>
internal sealed class ServiceReport : IDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    /// <summary>What a stop asks for, again and again: a worker that stands still does not, and is killed.</summary>
    private static readonly TimeSpan StopGrant = TimeSpan.FromSeconds(15);

    private static readonly TimeSpan LoopLimit = TimeSpan.FromSeconds(1);

    private readonly ISystemdNotifier _notifier;
    private readonly StageSequence _stages;
    private readonly StatusLine _status;
    private readonly StartPatience _patience;
    private readonly HealthState _health;
    private readonly LoopPulses _pulses;
    private readonly WatchdogSetting _watchdog;
    private readonly TimeProvider _time;
    private readonly LoopSupervisor _loops;
    private string? _told;
    private long _stopStarted;
    private int _isStopping;

    public ServiceReport(
        ISystemdNotifier notifier,
        StageSequence stages,
        StatusLine status,
        StartPatience patience,
        HealthState health,
        LoopPulses pulses,
        WatchdogSetting watchdog,
        TimeProvider time,
        ILogger<LoopSupervisor> logger
    )
    {
        _notifier = notifier;
        _stages = stages;
        _status = status;
        _patience = patience;
        _health = health;
        _pulses = pulses;
        _watchdog = watchdog;
        _time = time;
        _loops = new LoopSupervisor(_ => { }, pulses, time, logger);
    }

    /// <summary>Before the first stage.</summary>
    public void Begin()
    {
        if (_notifier.IsEnabled)
        {
            _stages.Moved += OnMoved;
            _loops.Start("service manager", LoopRule.Restart, RunAsync);
        }
    }

    /// <summary>Every stage is up.</summary>
    public void Ready()
    {
        TellStatus();
        _notifier.Notify(ServiceState.Ready);
    }

    /// <summary>A stop was asked for, or begins by itself. Only the first call counts.</summary>
    public void Stopping()
    {
        if (Interlocked.Exchange(ref _isStopping, 1) == 0)
        {
            Volatile.Write(ref _stopStarted, _time.GetTimestamp());
            _notifier.Notify(ServiceState.Stopping);
        }
    }

    /// <summary>A reload begins or has ended.</summary>
    public void Reloading(bool isUnderWay)
    {
        if (Volatile.Read(ref _isStopping) != 0)
        {
            return;
        }

        _status.IsReloading = isUnderWay;
        if (isUnderWay)
        {
            // One message, as systemd wants it; the clock is CLOCK_MONOTONIC, which this one reads on Linux.
            var now = Stopwatch.GetTimestamp() / (Stopwatch.Frequency / 1_000_000);
            _notifier.Notify(new ServiceState(string.Create(CultureInfo.InvariantCulture, $"RELOADING=1\nMONOTONIC_USEC={now}")));
        }

        TellStatus();
        if (!isUnderWay)
        {
            _notifier.Notify(ServiceState.Ready);
        }
    }

    /// <summary>The last word on a start that failed: it stays in <c>systemctl status</c>.</summary>
    public void Failed(string reason)
    {
        _status.Failure = reason;
        TellStatus();
    }

    /// <summary>After the last stage.</summary>
    public async Task EndAsync()
    {
        _stages.Moved -= OnMoved;
        await _loops.StopAsync(LoopLimit).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    public void Dispose() => _loops.Dispose();

    private async Task RunAsync(CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(_watchdog.Interval is { } signs && signs < Interval ? signs : Interval, _time);
        do
        {
            Tell();
        } while (await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false));
    }

    private void OnMoved()
    {
        if (_stages.Position is { Phase: StagePhase.Stopping })
        {
            Stopping();
        }

        TellStatus();
    }

    private void Tell()
    {
        TellStatus();
        if (Grant() is { } grant)
        {
            var microseconds = (long)grant.TotalMicroseconds;
            _notifier.Notify(new ServiceState(string.Create(CultureInfo.InvariantCulture, $"EXTEND_TIMEOUT_USEC={microseconds}")));
        }

        if (_watchdog.Interval is not null && _health.Fault is null && _pulses.Late is null)
        {
            _notifier.Notify(new ServiceState("WATCHDOG=1"));
        }
    }

    private TimeSpan? Grant()
    {
        if (Volatile.Read(ref _isStopping) != 0)
        {
            // Each stage has a limit of its own and a little more; past them all the manager's own limit is right.
            return _time.GetElapsedTime(Volatile.Read(ref _stopStarted)) < _stages.DownLimit + StopGrant ? StopGrant : null;
        }

        return _stages.Position switch
        {
            { Phase: StagePhase.Starting, Stage: { } stage } => _patience.Grant(
                stage,
                stage is EngineArgumentsStage or ModelStage or EngineStage
            ),
            { Phase: StagePhase.Up } when _status.IsReloading => StopGrant,
            _ => null,
        };
    }

    private void TellStatus()
    {
        var text = _status.ToString();
        if (Interlocked.Exchange(ref _told, text) != text)
        {
            _notifier.Notify(new ServiceState($"STATUS={text}"));
        }
    }
}
