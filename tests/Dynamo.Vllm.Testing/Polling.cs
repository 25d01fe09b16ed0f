namespace Dynamo.Vllm.Testing;

/// <summary>Waits for what another process does and announces to nobody: it
/// is looked at again and again, as an operator or a kubelet would.</summary>
public static class Polling
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(50);

    /// <param name="problem">What is wrong while the condition does not hold.</param>
    /// <param name="limit">Until then it must hold.</param>
    /// <param name="condition">Looked at once at least.</param>
    /// <param name="details">For the message of the exception.</param>
    /// <exception cref="TimeoutException">It did not.</exception>
    public static async Task UntilAsync(string problem, TimeSpan limit, Func<Task<bool>> condition, Func<string>? details = null)
    {
        using var waiting = new CancellationTokenSource(limit);
        while (!await condition())
        {
            if (waiting.IsCancellationRequested)
            {
                throw new TimeoutException($"{problem} after {limit.TotalSeconds} s\n{details?.Invoke()}");
            }

            await Task.Delay(Interval);
        }
    }
}
