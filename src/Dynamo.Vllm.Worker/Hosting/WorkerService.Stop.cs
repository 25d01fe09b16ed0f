using Dynamo.Vllm.Core.Disaggregation;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Worker.CommandLine;

namespace Dynamo.Vllm.Worker.Hosting;

internal sealed partial class WorkerService
{
    /// <summary>How long discovery may take to forget us; what is left then expires by itself.</summary>
    private static readonly TimeSpan DiscoveryTimeLimit = TimeSpan.FromSeconds(5);

    /// <summary>For a store that has let the first limit pass: the rest of the stop does not wait for it as long each time.</summary>
    private static readonly TimeSpan DiscoveryTimeLimitAgain = TimeSpan.FromSeconds(1);

    /// <summary>From the abort of the last requests to their end on the wire.</summary>
    private static readonly TimeSpan AbortTimeLimit = TimeSpan.FromSeconds(10);

    /// <summary>A dead engine has failed its requests already: only their error items have to leave.</summary>
    private static readonly TimeSpan DeathFlushTimeLimit = TimeSpan.FromSeconds(2);

    /// <summary>Python's own helpers end once the engine is down; they only have shared memory to remove.</summary>
    private static readonly TimeSpan HelperTimeLimit = TimeSpan.FromSeconds(1);

    private async Task RunStagesDownAsync(string reason)
    {
        var fatal = _fatal.Task.IsCompletedSuccessfully ? await _fatal.Task.ConfigureAwait(false) : null;
        var isServing = _endpoints.Count > 0;
        var leaving = _time.GetTimestamp();
        if (_registration is not null)
        {
            // Before a word is said: routers must not send more, whatever becomes of our output.
            await DownAsync("withdraw", () => BoundedAsync(_registration.WithdrawAllAsync)).ConfigureAwait(false);
        }

        LogStopping(_logger, fatal ?? reason);
        await DownAsync("canary and monitor", () => _watching.CancelAsync()).ConfigureAwait(false);

        if (fatal is not null)
        {
            ExitCode = ExitCodes.Failure;
            await DownAsync("close intake", _registration!.CloseIntakeAsync).ConfigureAwait(false);
            _engine!.GiveUp(fatal); // a stalled engine fails nothing by itself
            await DownAsync("flush", () => WhenIdleAsync(DeathFlushTimeLimit)).ConfigureAwait(false);
        }
        else if (isServing)
        {
            await DrainAsync(leaving).ConfigureAwait(false);
        }

        if (_relay is not null)
        {
            await DownAsync("KV relay", () => BoundedAsync(_relay.StopAsync)).ConfigureAwait(false);
            await DownAsync("event plane", () => _events!.DisposeAsync().AsTask()).ConfigureAwait(false);
        }

        if (_registration is not null)
        {
            await DownAsync("leave discovery", () => BoundedAsync(_registration.LeaveAsync)).ConfigureAwait(false);
            await DownAsync("discovery", () => _registration.DisposeAsync().AsTask()).ConfigureAwait(false);
        }

        await DownAsync("stall watch", () => _stopped.CancelAsync()).ConfigureAwait(false); // through the drain: what hangs then has callers, too
        await DownAsync("engine", () => StopEngineAsync(fatal is not null || !isServing)).ConfigureAwait(false);
        if (_requests is not null)
        {
            await DownAsync("request plane", () => _requests.DisposeAsync().AsTask()).ConfigureAwait(false);
        }

        if (_factory is not null)
        {
            await DownAsync("connections", () => _factory.DisposeAsync().AsTask()).ConfigureAwait(false);
        }

        if (_server is not null)
        {
            await DownAsync("status server", () => _server.DisposeAsync().AsTask()).ConfigureAwait(false);
        }

        await DownAsync("temporary files", RemoveTemporaryFiles).ConfigureAwait(false);
        foreach (var endpoint in _endpoints)
        {
            LogLedger(_logger, endpoint.Id.Name, endpoint.Ledger.Read());
        }

        LogStopped(_logger, ExitCode);
    }

    /// <summary>Grace, then no new requests, then what runs may finish, then the rest is aborted with an error that lets it migrate.</summary>
    private async Task DrainAsync(long leaving)
    {
        // Counted from the signal, as the withdrawal may have waited for a store that is away.
        var grace = _runtime.Shutdown.GracePeriod - _time.GetElapsedTime(leaving);
        await DownAsync("grace period", () => Task.Delay(grace > TimeSpan.Zero ? grace : TimeSpan.Zero, _time)).ConfigureAwait(false);
        _health.Hold(true);
        await DownAsync("close intake", _registration.CloseIntakeAsync).ConfigureAwait(false);
        var budget = _arguments.Host.DrainTimeout < _runtime.Shutdown.DrainTimeout ? _arguments.Host.DrainTimeout : _runtime.Shutdown.DrainTimeout;
        var running = InFlight();
        if (running > 0)
        {
            LogDraining(_logger, running, budget.TotalSeconds);
            await DownAsync("drain", () => WhenIdleAsync(budget)).ConfigureAwait(false);
        }

        if (_handOvers is { Pending: > 0 } handOvers)
        {
            // Their blocks live in this engine only: a decode worker that finds them gone fails its request.
            LogHandOvers(_logger, handOvers.Pending, budget.TotalSeconds);
            await DownAsync("hand-overs", () => HandOversAsync(handOvers, budget)).ConfigureAwait(false);
        }

        running = InFlight();
        if (running > 0)
        {
            LogAborting(_logger, running);
            foreach (var endpoint in _endpoints)
            {
                endpoint.CancelAll(CancellationCause.Shutdown);
            }

            await DownAsync("abort", () => WhenIdleAsync(AbortTimeLimit)).ConfigureAwait(false);
        }
    }

    private async Task HandOversAsync(HandOverLedger handOvers, TimeSpan budget)
    {
        using var limit = new CancellationTokenSource(budget, _time);
        await handOvers.WhenEmptyAsync(limit.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private int InFlight() => _endpoints.Sum(endpoint => endpoint.Ledger.Open);

    private async Task WhenIdleAsync(TimeSpan limit) =>
        await Task.WhenAny(Task.WhenAll(_endpoints.Select(endpoint => endpoint.Ledger.WhenIdle())), Task.Delay(limit, _time)).ConfigureAwait(false);

    private async Task StopEngineAsync(bool isBroken)
    {
        if (_engine is null)
        {
            return;
        }

        if (!isBroken)
        {
            using var limit = new CancellationTokenSource(_runtime.Health.EngineShutdownTimeout, _time);
            try
            {
                await _engine.ShutdownAsync(TimeSpan.FromSeconds(_engine.Description.ShutdownTimeoutSeconds), limit.Token).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is OperationCanceledException or Core.Engines.EngineCallException)
            {
                LogEngineDoesNotStop(_logger, exception.Message);
            }

            await ChildProcesses.WhenGoneAsync(HelperTimeLimit).ConfigureAwait(false);
        }

        // On every way out: an engine process left behind keeps the GPU from the next worker.
        var killed = ChildProcesses.KillAll();
        if (killed.Count > 0)
        {
            LogKilled(_logger, string.Join(", ", killed));
        }
    }

    private Task RemoveTemporaryFiles()
    {
        if (_prometheusFolder is not null)
        {
            Directory.Delete(_prometheusFolder, recursive: true);
        }

        return Task.CompletedTask;
    }

    private void ReportOrphans()
    {
        foreach (var orphan in OrphanProcesses.Find())
        {
            LogOrphan(_logger, orphan.Name, orphan.Id);
        }
    }

    private async Task BoundedAsync(Func<CancellationToken, Task> step)
    {
        using var limit = new CancellationTokenSource(_isStoreAway ? DiscoveryTimeLimitAgain : DiscoveryTimeLimit, _time);
        try
        {
            await step(limit.Token).WaitAsync(limit.Token).ConfigureAwait(false);
        }
        finally
        {
            _isStoreAway |= limit.IsCancellationRequested;
        }
    }

    /// <summary>Best-effort cleanup (style E3): a stage that fails must not keep the later ones from running.</summary>
    private async Task DownAsync(string name, Func<Task> stage)
    {
        try
        {
            await StageAsync(name, stage).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            LogStageFailed(_logger, name, exception);
        }
    }
}
