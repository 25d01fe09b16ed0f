namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>How long a stop waits for the discovery store: what it has not heard by then expires there by itself.</summary>
internal sealed class StorePatience
{
    /// <summary>Of the first call that the store lets pass.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromSeconds(5);

    /// <summary>Of each call after that: a store that is away is waited for once.</summary>
    public static readonly TimeSpan LimitAgain = TimeSpan.FromSeconds(1);

    private readonly TimeProvider _time;
    private bool _isAway;

    public StorePatience(TimeProvider time) => _time = time;

    /// <exception cref="OperationCanceledException">The limit has passed.</exception>
    public async Task RunAsync(Func<CancellationToken, Task> call)
    {
        using var limit = new CancellationTokenSource(_isAway ? LimitAgain : Limit, _time);
        try
        {
            await call(limit.Token).WaitAsync(limit.Token).ConfigureAwait(false);
        }
        finally
        {
            _isAway |= limit.IsCancellationRequested;
        }
    }
}
