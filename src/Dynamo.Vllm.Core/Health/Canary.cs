using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Responses;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.Health;

/// <summary>Probes an idle endpoint in process, the same way as a real request (runtime.md, 4.3).</summary>
/// <remarks>
/// A probe that comes behind long prompts may be late on an engine that works as it should. So a late one says nothing while the engine
/// makes steps; an engine that makes none is late for good, here and in <see cref="Stalls.StallWatch"/>.
/// </remarks>
public sealed partial class Canary
{
    private readonly IEngine _engine;
    private readonly ServedEndpoint _endpoint;
    private readonly byte[] _payloadJson;
    private readonly TimeSpan _idle;
    private readonly TimeSpan _timeLimit;
    private readonly HealthState _health;
    private readonly TimeProvider _time;
    private readonly IIdSource _ids;
    private readonly ILogger<Canary> _logger;
    private long _lastActivity;

    public Canary(
        IEngine engine,
        ServedEndpoint endpoint,
        byte[] payloadJson,
        TimeSpan idle,
        TimeSpan timeLimit,
        HealthState health,
        TimeProvider time,
        IIdSource ids,
        ILogger<Canary> logger
    )
    {
        _engine = engine;
        _endpoint = endpoint;
        _payloadJson = payloadJson;
        _idle = idle;
        _timeLimit = timeLimit;
        _health = health;
        _time = time;
        _ids = ids;
        _logger = logger;
        _lastActivity = time.GetTimestamp();
    }

    /// <summary>Runs until cancelled, which shutdown does first: a probe must not meet an engine that is going down.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        _endpoint.Responded += OnResponded; // here, as a run that has failed is begun again
        try
        {
            while (true)
            {
                var left = _idle - _time.GetElapsedTime(Volatile.Read(ref _lastActivity));
                if (left > TimeSpan.Zero)
                {
                    await Task.Delay(left, _time, cancellationToken);
                    continue;
                }

                await ProbeAsync(cancellationToken);
                Volatile.Write(ref _lastActivity, _time.GetTimestamp());
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Normal stop.
        }
        finally
        {
            _endpoint.Responded -= OnResponded;
        }
    }

    private void OnResponded()
    {
        Volatile.Write(ref _lastActivity, _time.GetTimestamp());
        _health.Report(_endpoint.Id.Name, isReady: true);
    }

    private async Task ProbeAsync(CancellationToken cancellationToken)
    {
        var context = new RequestContext(_ids.Next(), PayloadCodec.Json, _payloadJson, new Dictionary<string, string>());
        var first = new FirstItem();
        var steps = _engine.Steps;
        var run = RunHandlerAsync(context, first);
        try
        {
            var problem = await first.Task.WaitAsync(_timeLimit, _time, cancellationToken);
            Report(problem);

            // The rest of the stream; bounded because a probe asks for one token.
            await run.WaitAsync(_timeLimit, _time, cancellationToken)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
        }
        catch (TimeoutException)
        {
            context.Cancel(CancellationCause.Kill);
            if (_engine.Steps != steps)
            {
                LogBusy(_logger, _endpoint.Id.ToString(), _timeLimit.TotalSeconds);
                return;
            }

            Report($"no answer within {_timeLimit.TotalSeconds} s");
        }
    }

    private void Report(string? problem)
    {
        _health.Report(_endpoint.Id.Name, problem is null);
        if (problem is not null)
        {
            LogFailed(_logger, _endpoint.Id.ToString(), problem);
        }
    }

    private async Task RunHandlerAsync(RequestContext context, FirstItem first)
    {
        try
        {
            await _endpoint.Handler.HandleAsync(context, first);
            first.Finish("the stream ended without an item");
        }
        catch (RequestFailedException exception)
        {
            first.Finish(exception.Error.ToString());
        }
        catch (Exception exception)
        {
            // Boundary mapping (style E3): any failure of the handler is the answer of the probe.
            first.Finish($"{exception.GetType().Name}: {exception.Message}");
        }
    }

    [LoggerMessage(EventId = 2201, Level = LogLevel.Warning, Message = "Health probe of {Endpoint} failed: {Problem}")]
    private static partial void LogFailed(ILogger logger, string endpoint, string problem);

    [LoggerMessage(
        EventId = 2202,
        Level = LogLevel.Debug,
        Message = "Health probe of {Endpoint} got no answer within {Seconds} s from an engine that works: busy"
    )]
    private static partial void LogBusy(ILogger logger, string endpoint, double seconds);

    /// <summary>Completes with null at the first item, else with the problem.</summary>
    private sealed class FirstItem : IResponseWriter
    {
        // Not on the handler's stack.
        private readonly TaskCompletionSource<string?> _first = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task<string?> Task => _first.Task;

        public void Finish(string problem) => _first.TrySetResult(problem);

        public ValueTask WriteAsync(TokenDelta delta)
        {
            _first.TrySetResult(delta.IsError ? delta.FinishReason : null);
            return ValueTask.CompletedTask;
        }

        public ValueTask WriteAsync(ReadOnlyMemory<byte> json)
        {
            _first.TrySetResult(null);
            return ValueTask.CompletedTask;
        }

        public ValueTask WriteBareAsync(ReadOnlyMemory<byte> messagePack) => WriteAsync(messagePack);
    }
}
