using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Core.Requests;

/// <summary>An endpoint of this worker: its name, its handler and what is in flight on it.</summary>
public sealed class ServedEndpoint
{
    private readonly Lock _lock = new();
    private readonly HashSet<RequestContext> _running = [];
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

    /// <summary>Counts a request from its acknowledgement on, also while it waits for its turn, to its end.</summary>
    public RequestLedger Ledger { get; } = new();

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

    /// <summary>Cancels what runs under this id, which need not be unique; nothing if nothing does.</summary>
    public void Cancel(string requestId, CancellationCause cause)
    {
        RequestContext[] named;
        lock (_lock)
        {
            named = [.. _running.Where(context => context.Id == requestId)];
        }

        foreach (var context in named)
        {
            context.Cancel(cause);
        }
    }

    public void NotifyResponded() => Responded?.Invoke();
}
