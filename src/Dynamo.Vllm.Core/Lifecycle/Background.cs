namespace Dynamo.Vllm.Core.Lifecycle;

/// <summary>Work that goes on beside its caller, on the caller's own scheduler.</summary>
/// <remarks>
/// In the worker that is the thread pool. Core awaits without <c>ConfigureAwait(false)</c> and starts nothing but through here, so that a
/// test that runs it on a scheduler of its own decides the order of everything (BannedSymbols.txt).
/// </remarks>
internal static class Background
{
    /// <summary>Behind what waits already, as each ingress loop's requests are in turn.</summary>
    public static void Run(Action<object?> work, object state) =>
        Task.Factory.StartNew(
            work,
            state,
            CancellationToken.None,
            TaskCreationOptions.DenyChildAttach | TaskCreationOptions.PreferFairness,
            TaskScheduler.Current
        );

    public static Task Run(Func<Task> work) =>
        Task.Factory.StartNew(work, CancellationToken.None, TaskCreationOptions.DenyChildAttach, TaskScheduler.Current).Unwrap();

    /// <summary>Cancels beside the caller: whoever waits for the token does not go on within it.</summary>
    public static Task CancelAsync(CancellationTokenSource source) =>
        Run(() =>
        {
            source.Cancel();
            return Task.CompletedTask;
        });
}
