namespace Dynamo.Vllm.Core.Requests;

/// <summary>Counts every request of an endpoint in when it is acknowledged and out when it has ended. Thread-safe.</summary>
/// <remarks>The two are one number under one lock, so that a snapshot balances
/// at any time: an imbalance is a lost request, not a race.</remarks>
public sealed class RequestLedger
{
    private readonly Lock _lock = new();
    private readonly Dictionary<RequestEnd, long> _ended = [];
    private long _accepted;
    private long _open;
    private TaskCompletionSource? _idle;

    public int Open
    {
        get
        {
            lock (_lock)
            {
                return (int)_open;
            }
        }
    }

    public void Accept()
    {
        lock (_lock)
        {
            _accepted++;
            _open++;
        }
    }

    public void End(RequestEnd end)
    {
        TaskCompletionSource? idle = null;
        lock (_lock)
        {
            _ended[end] = _ended.GetValueOrDefault(end) + 1; // few kinds: outcomes times the reasons of the catalogue
            if (--_open == 0)
            {
                idle = _idle;
                _idle = null;
            }
        }

        idle?.TrySetResult();
    }

    /// <summary>Completes when nothing is open.</summary>
    public Task WhenIdle()
    {
        lock (_lock)
        {
            if (_open == 0)
            {
                return Task.CompletedTask;
            }

            // Continuations must not run under a request's own stack.
            _idle ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return _idle.Task;
        }
    }

    public LedgerBalance Read()
    {
        lock (_lock)
        {
            return new LedgerBalance(_accepted, _open, new Dictionary<RequestEnd, long>(_ended));
        }
    }
}
