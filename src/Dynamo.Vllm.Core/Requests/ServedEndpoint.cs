using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Core.Requests;

/// <summary>An endpoint of this worker: its name, its handler and what is in flight on it.</summary>
public sealed class ServedEndpoint
{
    private readonly Lock _lock = new();
    private readonly HashSet<RequestContext> _running = [];
    private TaskCompletionSource? _idle;
    private int _accepted;
    private CancellationCause _allCancelled;
    private volatile DynamoError? _turnAway;

    public ServedEndpoint(EndpointId id, IEndpointHandler handler, EndpointMetrics metrics)
    {
        Id = id;
        Handler = handler;
        Metrics = metrics;
    }

    public EndpointId Id { get; }

    public IEndpointHandler Handler { get; }

    public EndpointMetrics Metrics { get; }

    /// <summary>While set, requests that have not begun end with it instead of meeting the handler.</summary>
    public DynamoError? TurnAway
    {
        get => _turnAway;
        set => _turnAway = value;
    }

    /// <summary>Raised after each item that went out and was no error: proof that the endpoint works.</summary>
    public event Action? Responded;

    public int InFlight
    {
        get
        {
            lock (_lock)
            {
                return _accepted;
            }
        }
    }

    /// <summary>Counts a request from its acceptance on, also while it waits for its turn.</summary>
    public void Reserve()
    {
        lock (_lock)
        {
            _accepted++;
        }
    }

    /// <summary>The request runs. One that waited while all were cancelled is cancelled now.</summary>
    public void Enter(RequestContext context)
    {
        CancellationCause cause;
        lock (_lock)
        {
            _running.Add(context);
            cause = _allCancelled;
        }

        if (cause != CancellationCause.None)
        {
            context.Cancel(cause);
        }
    }

    /// <summary>The request runs no more.</summary>
    public void Leave(RequestContext context)
    {
        lock (_lock)
        {
            _running.Remove(context);
        }
    }

    /// <summary>The request has ended, whatever became of it.</summary>
    public void Release()
    {
        TaskCompletionSource? idle = null;
        lock (_lock)
        {
            if (--_accepted == 0)
            {
                idle = _idle;
                _idle = null;
            }
        }

        idle?.TrySetResult();
    }

    /// <summary>Cancels whatever runs, and whatever was accepted and has not begun. For a worker that leaves.</summary>
    public void CancelAll(CancellationCause cause)
    {
        RequestContext[] running;
        lock (_lock)
        {
            _allCancelled = cause;
            running = [.. _running];
        }

        foreach (var context in running)
        {
            context.Cancel(cause);
        }
    }

    /// <summary>Completes when nothing is in flight.</summary>
    public Task WhenIdle()
    {
        lock (_lock)
        {
            if (_accepted == 0)
            {
                return Task.CompletedTask;
            }

            // Continuations must not run under a request's own stack.
            _idle ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return _idle.Task;
        }
    }

    public void NotifyResponded() => Responded?.Invoke();
}
