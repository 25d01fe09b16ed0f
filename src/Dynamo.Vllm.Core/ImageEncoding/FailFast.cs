using Dynamo.Vllm.Core.Lifecycle;

namespace Dynamo.Vllm.Core.ImageEncoding;

/// <summary>Several tasks of one request, of which the first that fails ends the others.</summary>
public static class FailFast
{
    /// <summary>Their results in order. Every way out leaves none of them running.</summary>
    public static async Task<T[]> AllAsync<T>(IEnumerable<Func<CancellationToken, Task<T>>> work, CancellationToken cancellationToken)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var tasks = work.Select(begin => begin(stop.Token)).ToList();
        try
        {
            await foreach (var task in Task.WhenEach(tasks))
            {
                await task;
            }

            return await Task.WhenAll(tasks);
        }
        catch (Exception) // cleanup (style E3)
        {
            await Background.CancelAsync(stop);
            await Task.WhenAll(tasks.Select(EndAsync));
            throw;
        }
    }

    private static async Task EndAsync(Task task)
    {
        try
        {
            await task;
        }
        catch (Exception)
        {
            // Best-effort cleanup (style E3): the first failure is the one that is told.
        }
    }
}
