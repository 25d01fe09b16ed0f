using System.Buffers;
using System.Net.Sockets;
using System.Text;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Generate;
using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Health.Stalls;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.Framing;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Testing.Relay;
using Dynamo.Vllm.UnitTests.Core;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Dynamo.Vllm.UnitTests.Simulation;

/// <summary>
/// One life of a worker on a virtual clock, with callers, an engine and a store that misbehave: dispatcher, handlers, registration and
/// stall watch are the real ones. Everything that happens, and in which order, comes from the seed.
/// </summary>
internal sealed class SimulatedRun : ICallHomeDialer, IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(10);
    private static readonly TimeSpan DrainLimit = TimeSpan.FromSeconds(5);

    /// <summary>Room for all that waits to dial, one after the other.</summary>
    private static readonly TimeSpan AbortLimit = TimeSpan.FromSeconds(60);

    /// <summary>Nobody waits longer for the next word: a frozen engine's requests are released after 8 s.</summary>
    private static readonly TimeSpan SilenceMax = TimeSpan.FromSeconds(20);

    private readonly PlantedFault _fault;
    private readonly Random _random;
    private readonly FakeTimeProvider _time = new();
    private readonly SeededScheduler _scheduler;
    private readonly SimulatedEngine _engine;
    private readonly RecordingDiscovery _store = new();
    private readonly WorkerRegistration _registration;
    private readonly ServedEndpoint _endpoint;
    private readonly RequestDispatcher _dispatcher;
    private readonly StallWatch _watch;
    private readonly List<SimulatedCaller> _callers = [];
    private readonly HashSet<int> _accepted = [];
    private readonly CancellationTokenSource _over = new();
    private bool _isIntakeOpen = true;
    private bool _wasAbortHeeded = true;
    private int _stepsWhenLeft = int.MaxValue;

    public SimulatedRun(int seed, PlantedFault fault = PlantedFault.None)
    {
        _fault = fault;
        _random = new Random(seed);
        _scheduler = new SeededScheduler(new Random(seed ^ 0x5eed));
        _engine = new SimulatedEngine(fault, _time);
        var options = new GenerateOptions { BaseModelNames = new HashSet<string> { "m" } };
        _endpoint = Endpoints.Create(
            _random.Next(2) == 0 ? new AggregatedHandler(_engine, options, null, null) : new DecodeHandler(_engine, options, null, null)
        );
        _registration = new WorkerRegistration(
            _store,
            new RequestPlaneFake(),
            "cpu",
            PayloadCodec.MessagePack,
            _time,
            NullLogger<WorkerRegistration>.Instance,
            new InstanceId(1)
        );
        _store.BeforeRegistration = TroubleAsync;
        _store.BeforeRemoval = TroubleAsync;
        _dispatcher = new RequestDispatcher(
            this,
            new AdmissionLimits(Running: _random.Next(1, 8), Queued: _random.Next(1, 8)),
            Endpoints.DispatcherMetrics(),
            _time,
            NullLogger<RequestDispatcher>.Instance
        );
        _dispatcher.Add("route", _endpoint);
        _watch = new StallWatch(
            _engine,
            _engine,
            new ExpectedSilence(),
            new StallLimits(),
            new HealthState(canaryEnabled: false, startsReady: true, _time),
            _registration,
            _endpoint,
            _time,
            NullLogger<StallWatch>.Instance
        );
    }

    public int Accepted => _accepted.Count;

    public long Executed => _scheduler.Executed;

    /// <returns>What was promised and not kept; empty if the run was as it must be.</returns>
    public IReadOnlyList<string> Run()
    {
        var context = SynchronizationContext.Current;
        SynchronizationContext.SetSynchronizationContext(null); // or awaits would go on under the test runner's
        try
        {
            var life = Task.Factory.StartNew(LiveAsync, CancellationToken.None, TaskCreationOptions.None, _scheduler).Unwrap();
            var began = _time.GetTimestamp();
            while (!life.IsCompleted && _time.GetElapsedTime(began) < Patience)
            {
                _scheduler.RunUntilIdle();
                _time.Advance(TimeSpan.FromMilliseconds(_random.Next(1, 80)));
            }

            if (_scheduler.Intrusion is { } intrusion)
            {
                return [$"not under control: {intrusion}"];
            }

            return life.IsFaulted ? [life.Exception.ToString()] : [.. Check(life.IsCompleted)];
        }
        finally
        {
            SynchronizationContext.SetSynchronizationContext(context);
        }
    }

    public async Task<ICallHome> DialAsync(RequestEnvelope envelope, CancellationToken cancellationToken)
    {
        var caller = _callers[int.Parse(envelope.Id, System.Globalization.CultureInfo.InvariantCulture)];
        await Task.Delay(caller.DialTime, _time, cancellationToken);
        return caller.IsReachable ? caller : throw new SocketException((int)SocketError.ConnectionRefused);
    }

    public void Dispose()
    {
        _engine.Dispose();
        _over.Dispose();
    }

    private async Task LiveAsync()
    {
        await _registration.ServeAsync(_endpoint, CancellationToken.None);
        var engine = _engine.RunAsync(_random, _over.Token);
        var watch =
            _fault == PlantedFault.NoStallWatch
                ? new TaskCompletionSource<string?>().Task
                : _watch.RunAsync(new LoopPulse("stall watch", _time), _over.Token);
        var disturbing = DisturbAsync();
        var callers = CallAsync(_random.Next(1, 60));
        await UntilAsync(() => watch.IsCompleted || _engine.Died.IsCompleted, TimeSpan.FromSeconds(_random.Next(1, 30)));
        await LeaveAsync(isFatal: _engine.Died.IsCompleted || watch.IsCompleted);
        await callers;
        await disturbing;
        _engine.Thaw();
        await Task.Delay(TimeSpan.FromSeconds(1), _time); // the engine hears of the last aborts
        _over.Cancel();
        await engine;
    }

    /// <summary>As RegistrationStage takes a worker down.</summary>
    private async Task LeaveAsync(bool isFatal)
    {
        await _registration.WithdrawAllAsync(CancellationToken.None);
        _stepsWhenLeft = _store.Steps.Count;
        if (!isFatal)
        {
            await Task.Delay(TimeSpan.FromSeconds(1), _time);
        }

        await _registration.CloseIntakeAsync();
        _isIntakeOpen = false;
        if (isFatal)
        {
            _engine.Die("given up");
        }
        else
        {
            await UntilAsync(() => _endpoint.Ledger.Open == 0, DrainLimit);
        }

        if (_fault != PlantedFault.NoAbort)
        {
            _endpoint.CancelAll(CancellationCause.Shutdown);
        }

        if (_fault == PlantedFault.SeenAgain)
        {
            await _store.RegisterAsync(DiscoveryRecord.Model(_endpoint.Id, new InstanceId(1), []), CancellationToken.None);
        }

        await UntilAsync(() => _endpoint.Ledger.Open == 0, AbortLimit);
        if (_endpoint.Ledger.Open > 0)
        {
            _wasAbortHeeded = _engine.IsFrozen;
            _engine.Die("the worker ends"); // as EngineStage does; its end is the answer to what is left
        }

        await _endpoint.Ledger.WhenIdle();
    }

    /// <summary>Looks again and again: a combined task (WhenAny, WaitAsync) goes on where it was completed.</summary>
    private async Task UntilAsync(Func<bool> holds, TimeSpan limit)
    {
        for (var began = _time.GetTimestamp(); !holds() && _time.GetElapsedTime(began) < limit; )
        {
            await Task.Delay(TimeSpan.FromMilliseconds(50), _time);
        }
    }

    private async Task CallAsync(int count)
    {
        for (var i = 0; i < count; i++)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(_random.Next(3) == 0 ? 0 : _random.Next(0, 900)), _time);
            if (_isIntakeOpen)
            {
                Send(i);
            }
            else
            {
                return;
            }
        }
    }

    private void Send(int number)
    {
        var caller = new SimulatedCaller(number, _random, _time);
        _callers.Add(caller);
        var info = $$"""{\"address\":\"127.0.0.1:1\",\"subject\":\"s\",\"context\":\"{{number}}\",\"stream_type\":\"response\"}""";
        var header = $$$"""{"id":"{{{number}}}","connection_info":{"transport":"tcp_server","info":"{{{info}}}"}}""";
        var body = $$$"""{"token_ids":[1],"stop_conditions":{"max_tokens":{{{caller.Tokens}}}}}""";
        var payload = new ArrayBufferWriter<byte>();
        TwoPartMessage.Write(payload, Encoding.UTF8.GetBytes(header), Encoding.UTF8.GetBytes(body));
        if (_dispatcher.Accept("route", default, payload.WrittenMemory, () => caller.Releases++) is null)
        {
            _accepted.Add(number);
            if (caller.LeavesAfter is { } leaves)
            {
                _ = LeaveAfterAsync(caller, leaves);
            }
        }
    }

    private async Task LeaveAfterAsync(SimulatedCaller caller, TimeSpan leaves)
    {
        await Task.Delay(leaves, _time);
        caller.Leave();
    }

    private async Task DisturbAsync()
    {
        if (_random.Next(2) == 0)
        {
            return;
        }

        await Task.Delay(TimeSpan.FromMilliseconds(_random.Next(0, 15_000)), _time);
        if (_random.Next(4) == 0)
        {
            _engine.Die("killed");
            return;
        }

        _engine.Freeze();
        await Task.Delay(TimeSpan.FromSeconds(_random.Next(1, 200)), _time);
        _engine.Thaw();
    }

    /// <summary>The store takes its time.</summary>
    private Task TroubleAsync(CancellationToken cancellationToken) =>
        _random.Next(3) == 0 ? Task.Delay(TimeSpan.FromMilliseconds(_random.Next(0, 4000)), _time, cancellationToken) : Task.CompletedTask;

    private IEnumerable<string> Check(bool hasEnded)
    {
        var balance = _endpoint.Ledger.Read();
        if (!hasEnded)
        {
            yield return $"hung: {balance}, {_engine.Held} in the engine";
            yield break;
        }

        if (!balance.IsBalanced || balance.Open != 0 || balance.Accepted != _accepted.Count)
        {
            yield return $"ledger: {balance}, of {_accepted.Count}";
        }

        if (_engine.RunningRequests != 0 || _engine.Held != 0)
        {
            yield return $"left behind: {_engine.RunningRequests} streams, {_engine.Held} in the engine";
        }

        if (!_wasAbortHeeded)
        {
            yield return "not aborted: the engine had to be ended under its requests";
        }

        if (_store.Steps.Skip(_stepsWhenLeft).FirstOrDefault(step => step[0] == '+') is { } seen)
        {
            yield return $"seen after it left: {seen}";
        }

        foreach (var caller in _callers)
        {
            if (Check(caller) is { } problem)
            {
                yield return $"request {caller.Number} ({caller.Tokens} tokens, heard {caller.Heard.Count}): {problem}";
            }
        }
    }

    private string? Check(SimulatedCaller caller)
    {
        if (!_accepted.Contains(caller.Number))
        {
            return caller.Releases == 1 ? null : $"refused, and its memory was given back {caller.Releases} times";
        }

        var isGone = caller.HasLeft || caller.IsBroken || !caller.IsReachable;
        return caller switch
        {
            { Releases: not 1 } => $"its memory was given back {caller.Releases} times",
            { Fault: { } fault } => fault,
            _ when !caller.Heard.SequenceEqual(Enumerable.Range(0, caller.Heard.Count)) => $"tokens: {string.Join(' ', caller.Heard)}",
            _ when caller.IsReachable && caller.Disposals != 1 => $"its connection was closed {caller.Disposals} times",
            _ when isGone => null,
            _ when caller.LongestSilence > SilenceMax => $"it heard nothing for {caller.LongestSilence.TotalSeconds:0.0} s",
            { Ends: not 1 } => $"it was told {caller.Ends} ends",
            { Error: null } when caller.Heard.Count != caller.Tokens => "the end came too early, without an error",
            { Error: { } error } when error.Reason is not ("backend.engine_shutdown" or "backend.worker_unavailable") =>
                $"{error.Reason}: {error.Message}",
            _ => null,
        };
    }
}
