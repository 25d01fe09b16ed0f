namespace Dynamo.Vllm.Worker.Control;

/// <summary>Whether requests stand still, and the turn of those who change that or need it to stay as it is.</summary>
/// <remarks>Thread-safe. Sleep, wake-up, pause, resume, flush and new weights exclude each other: weights must not change under requests
/// that a resume has let go on.</remarks>
internal sealed class GenerationPause
{
    private readonly SemaphoreSlim _turn = new(1, 1);

    /// <summary>Paused by its own call; an engine that sleeps is not. Read and written by whoever has the turn.</summary>
    public bool IsPaused { get; set; }

    /// <summary>The engine sleeps. As <see cref="IsPaused"/>.</summary>
    public bool IsAsleep { get; set; }

    /// <summary>Why requests must not go on, or null: an engine whose weights are half loaded ends with the next one.</summary>
    public string? Obstacle { get; set; }

    /// <summary>Waits for the turn; disposing gives it back.</summary>
    public async Task<IDisposable> EnterAsync(CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        return new Turn(_turn);
    }

    private sealed class Turn(SemaphoreSlim turn) : IDisposable
    {
        private int _isOver;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _isOver, 1) == 0)
            {
                turn.Release();
            }
        }
    }
}
