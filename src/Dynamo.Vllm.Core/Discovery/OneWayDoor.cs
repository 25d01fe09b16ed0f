using Dynamo.Vllm.Core.Lifecycle;

namespace Dynamo.Vllm.Core.Discovery;

/// <summary>Changes to the discovery store run one after the other; once the worker leaves, nothing can appear any more.</summary>
/// <remarks>Thread-safe. What is under way when the worker leaves is cut short; what waits for its turn does not begin.</remarks>
internal sealed class OneWayDoor : IDisposable
{
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly CancellationTokenSource _leaving = new();

    public bool IsLeaving => _leaving.IsCancellationRequested;

    /// <summary>Cancelled when the worker leaves.</summary>
    public CancellationToken Leaving => _leaving.Token;

    public Task LeaveAsync() => Background.CancelAsync(_leaving);

    /// <summary>A change that may be made at any time.</summary>
    public async Task InTurnAsync(Func<Task> change)
    {
        await _turn.WaitAsync();
        try
        {
            await change();
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>A change that makes something appear: not begun, and cut short, once the worker leaves.</summary>
    /// <exception cref="WorkerLeavingException">The worker leaves.</exception>
    public Task AppearAsync(Func<CancellationToken, Task> change, CancellationToken cancellationToken) =>
        InTurnAsync(async () =>
        {
            if (IsLeaving)
            {
                throw new WorkerLeavingException();
            }

            using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _leaving.Token);
            try
            {
                await change(either.Token);
            }
            catch (OperationCanceledException) when (IsLeaving)
            {
                throw new WorkerLeavingException();
            }
        });

    public void Dispose()
    {
        _turn.Dispose();
        _leaving.Dispose();
    }
}
