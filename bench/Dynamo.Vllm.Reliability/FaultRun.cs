using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.Reliability;

/// <summary>Two workers behind the official frontend with migration, under load, and one fault.</summary>
internal sealed class FaultRun
{
    private static readonly TimeSpan ServingLimit = TimeSpan.FromMinutes(2);

    private readonly Stack _stack;
    private readonly Fault _fault;
    private readonly ReliabilityOptions _options;
    private readonly ConcurrentDictionary<ClientOutcome, int> _outcomes = new();
    private readonly List<TestedWorker> _workers = [];
    private TimeSpan? _untilNotReady;

    private FaultRun(Stack stack, Fault fault, ReliabilityOptions options)
    {
        _stack = stack;
        _fault = fault;
        _options = options;
    }

    public int Sent => _outcomes.Values.Sum();

    /// <summary>Nothing hung, nothing broke off; on an engine whose answers do not depend on company, nothing differed either.</summary>
    public bool IsGood =>
        Count(ClientOutcome.Hung) == 0
        && Count(ClientOutcome.Broken) == 0
        && (_stack != Stack.OursSimulated || Count(ClientOutcome.Different) == 0);

    public static string Header =>
        "| fault | stack | sent | correct | whole, other words | typed errors | broken | hung | `/health` 503 after "
        + "|\n|---|---|---|---|---|---|---|---|---|";

    public static async Task<FaultRun> RunAsync(Stack stack, Fault fault, ReliabilityOptions options)
    {
        var run = new FaultRun(stack, fault, options);
        try
        {
            await run.RunAsync();
            return run;
        }
        finally
        {
            foreach (var worker in run._workers)
            {
                await worker.DisposeAsync();
            }
        }
    }

    public override string ToString() =>
        string.Create(
            CultureInfo.InvariantCulture,
            $"| {_fault} | {_stack} | {Sent} | {Count(ClientOutcome.Correct)} | {Count(ClientOutcome.Different)} | "
                + $"{Count(ClientOutcome.TypedError)} | {Count(ClientOutcome.Broken)} | {Count(ClientOutcome.Hung)} | "
                + $"{(_untilNotReady is { } time ? $"{time.TotalSeconds:0.0} s" : "-")} |"
        );

    private int Count(ClientOutcome outcome) => _outcomes.GetValueOrDefault(outcome);

    private async Task RunAsync()
    {
        using var store = new TemporaryFolder();
        var variables = Peers.Variables(store.Path);
        await using var frontend = Frontend.Start(variables, "--router-mode", "round-robin", "--migration-limit", "3");
        _workers.AddRange(await Task.WhenAll(TestedWorker.StartAsync(_stack, variables), TestedWorker.StartAsync(_stack, variables)));
        await frontend.ServesAsync("tiny", ServingLimit);
        var client = new StreamingClient(frontend, _options.Tokens);
        await client.LearnAsync();
        var started = Stopwatch.GetTimestamp();
        var load = Task.WhenAll(
            Enumerable
                .Range(0, _options.Streams)
                .Select(async stream =>
                {
                    for (var i = stream; Stopwatch.GetElapsedTime(started) < _options.Load; i++)
                    {
                        var (outcome, _) = await client.TryAsync(i % StreamingClient.Prompts);
                        _outcomes.AddOrUpdate(outcome, 1, (_, count) => count + 1);
                    }
                })
        );
        await Task.Delay(_options.Load / 3);
        await DoAsync(_workers[0], variables);
        await load;
    }

    private async Task DoAsync(TestedWorker victim, IReadOnlyDictionary<string, string> variables)
    {
        switch (_fault)
        {
            case Fault.EngineFrozen:
                await FreezeAsync(victim, () => victim.SignalEngine("STOP"), () => victim.SignalEngine("CONT"));
                break;
            case Fault.WorkerFrozen:
                await FreezeAsync(victim, () => victim.Process.Signal("STOP"), () => victim.Process.Signal("CONT"));
                break;
            case Fault.EngineKilled:
                victim.SignalEngine("KILL");
                await ReplaceAsync(victim, variables);
                break;
            case Fault.WorkerKilled:
                victim.Process.Signal("KILL");
                await ReplaceAsync(victim, variables);
                break;
            case Fault.WorkerStopped:
                victim.Process.Signal("TERM");
                await ReplaceAsync(victim, variables);
                break;
            default:
                break;
        }
    }

    /// <summary>Freezes, and watches meanwhile how long the worker calls itself ready.</summary>
    private async Task FreezeAsync(TestedWorker victim, Action stop, Action go)
    {
        var started = Stopwatch.GetTimestamp();
        stop();
        while (Stopwatch.GetElapsedTime(started) < _options.Freeze)
        {
            if (_untilNotReady is null && await victim.IsReadyAsync() != true)
            {
                _untilNotReady = Stopwatch.GetElapsedTime(started);
            }

            await Task.Delay(200);
        }

        go();
    }

    private async Task ReplaceAsync(TestedWorker victim, IReadOnlyDictionary<string, string> variables)
    {
        await victim.Process.ExitCodeAsync(TimeSpan.FromMinutes(3));
        _workers.Add(await TestedWorker.StartAsync(_stack, variables));
    }
}
