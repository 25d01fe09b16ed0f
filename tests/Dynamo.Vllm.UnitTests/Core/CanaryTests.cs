using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Testing;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.UnitTests.Core;

public sealed class CanaryTests : IAsyncLifetime
{
    private static readonly TimeSpan Idle = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(3);

    private readonly SignallingTime _time = new();
    private readonly ScriptedEngine _engine = new() { Steps = 5 };
    private readonly HealthState _health;
    private readonly ServedEndpoint _generate;
    private readonly Handler _handler = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly Canary _canary;
    private Task _run = Task.CompletedTask;

    public CanaryTests()
    {
        _health = new HealthState(canaryEnabled: true, startsReady: false, _time);
        _generate = Endpoints.Create(_handler);
        _health.AddEndpoint("generate", hasPayload: true);
        _canary = new Canary(
            _engine,
            _generate,
            "{}"u8.ToArray(),
            Idle,
            Limit,
            _health,
            _time,
            new CountedIds(),
            NullLogger<Canary>.Instance
        );
    }

    public Task InitializeAsync()
    {
        _run = _canary.RunAsync(_stop.Token);
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await _stop.CancelAsync();
        await _run.WaitAsync(TimeSpan.FromSeconds(30));
        _stop.Dispose();
    }

    [Fact]
    public async Task An_endpoint_that_answers_is_ready_and_one_that_fails_is_not()
    {
        _handler.Answer = responses => responses.WriteAsync("{}"u8.ToArray()).AsTask();
        await ProbedAsync();
        Assert.True(_health.IsReady);

        _handler.Answer = _ => throw new RequestFailedException(DynamoError.EngineShutdown("gone"));
        await ProbedAsync();
        Assert.False(_health.IsReady);
    }

    [Fact]
    public async Task A_run_that_is_begun_again_hears_of_real_responses()
    {
        await _stop.CancelAsync();
        await _run.WaitAsync(TimeSpan.FromSeconds(30));
        using var again = new CancellationTokenSource();
        var run = _canary.RunAsync(again.Token);
        Assert.False(_health.IsReady);
        _generate.NotifyResponded();
        Assert.True(_health.IsReady);
        await again.CancelAsync();
        await run.WaitAsync(TimeSpan.FromSeconds(30));
    }

    [Fact]
    public async Task A_probe_that_is_late_on_an_engine_that_makes_no_step_is_not_ready()
    {
        await ReadyAsync();
        await LateAsync();
        Assert.False(_health.IsReady);
        Assert.Equal(CancellationCause.Kill, _handler.Last!.Cause);
    }

    [Fact]
    public async Task A_probe_that_is_late_on_an_engine_that_works_says_nothing()
    {
        await ReadyAsync();
        _handler.Begun = () => _engine.Steps++;
        await LateAsync();
        Assert.True(_health.IsReady);
        Assert.Equal(CancellationCause.Kill, _handler.Last!.Cause);
    }

    [Fact]
    public async Task A_worker_that_has_never_proved_itself_does_not_become_ready_by_being_busy()
    {
        _handler.Begun = () => _engine.Steps++;
        await _time.ArmedAsync(); // waits until it is idle
        await LateFromIdleAsync();
        Assert.False(_health.IsReady);
    }

    private async Task ReadyAsync()
    {
        _handler.Answer = responses => responses.WriteAsync("{}"u8.ToArray()).AsTask();
        await ProbedAsync();
        Assert.True(_health.IsReady);
    }

    /// <summary>Lets it become idle and probe; returns when it waits to become idle again.</summary>
    private async Task ProbedAsync()
    {
        if (_handler.Last is null)
        {
            await _time.ArmedAsync();
        }

        _time.Advance(Idle);
        await _time.ArmedAsync();
    }

    private Task LateAsync()
    {
        _handler.Answer = _ => new TaskCompletionSource().Task;
        return LateFromIdleAsync();
    }

    private async Task LateFromIdleAsync()
    {
        _handler.Answer ??= _ => new TaskCompletionSource().Task;
        _time.Advance(Idle);
        await _time.ArmedAsync(); // waits for the answer
        _time.Advance(Limit);
        await _time.ArmedAsync(); // waits until it is idle again
    }

    private sealed class Handler : IEndpointHandler
    {
        public Func<IResponseWriter, Task>? Answer { get; set; }

        public Action? Begun { get; set; }

        public RequestContext? Last { get; private set; }

        public Task HandleAsync(RequestContext context, IResponseWriter responses)
        {
            Last = context;
            var answer = Answer!(responses);
            Begun?.Invoke();
            return answer;
        }
    }
}
