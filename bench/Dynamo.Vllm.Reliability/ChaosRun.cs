using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;

namespace Dynamo.Vllm.Reliability;

/// <summary>Many requests with known answers, while one thing after the other happens to the fleet.</summary>
internal sealed class ChaosRun(ChaosOptions options)
{
    private readonly Random _chance = new(options.Seed);
    private readonly ConcurrentDictionary<ClientOutcome, int> _outcomes = new();
    private readonly ConcurrentDictionary<string, int> _words = new();
    private readonly Dictionary<ChaosFault, int> _done = [];
    private int _begun;

    /// <returns>Nothing hung, broke off, differed or was lost.</returns>
    public async Task<bool> RunAsync()
    {
        var started = Stopwatch.GetTimestamp();
        var fleet = await ChaosFleet.StartAsync(options.Workers, options.IsDisaggregated ? ["prefill", "decode"] : [null]);
        await using (fleet)
        {
            var client = new StreamingClient(fleet.Frontend, options.Tokens);
            await client.LearnAsync();
            var load = Task.WhenAll(Enumerable.Range(0, options.Streams).Select(stream => SendAsync(client, stream)));
            while (!load.IsCompleted)
            {
                await Task.Delay(Seconds(0.5, 2));
                if (!load.IsCompleted)
                {
                    await DisturbAsync(fleet);
                }
            }

            await load;
        }

        Report(fleet, Stopwatch.GetElapsedTime(started));
        return fleet.Lost.Count == 0
            && Count(ClientOutcome.Hung) + Count(ClientOutcome.Broken) + Count(ClientOutcome.Different) == 0
            && !fleet.FrontendEnded;
    }

    private async Task SendAsync(StreamingClient client, int stream)
    {
        for (var i = stream; Interlocked.Increment(ref _begun) <= options.Requests; i++)
        {
            var (outcome, text) = await client.TryAsync(i % StreamingClient.Prompts);
            _outcomes.AddOrUpdate(outcome, 1, (_, count) => count + 1);
            if (outcome is not ClientOutcome.Correct)
            {
                _words.AddOrUpdate($"{outcome}: {Kind(text)}", 1, (_, count) => count + 1);
                await Task.Delay(200); // as a client does that tries again
            }
        }
    }

    /// <summary>What was said, without the numbers and names in it that make each one different.</summary>
    private static string Kind(string text) =>
        Regex.Replace(text[..Math.Min(text.Length, 400)].ReplaceLineEndings(" "), "[0-9a-f]{6,}(-[0-9a-f]+)*|[0-9]+", "#");

    private async Task DisturbAsync(ChaosFleet fleet)
    {
        var fault = options.Faults[_chance.Next(options.Faults.Count)];
        _done[fault] = _done.GetValueOrDefault(fault) + 1;
        var victim = fleet.Workers[_chance.Next(fleet.Workers.Count)];
        var before = (Sent: _outcomes.Values.Sum(), Errors: Count(ClientOutcome.TypedError), Bad: Bad());
        var started = Stopwatch.GetTimestamp();
        await DoAsync(fault, fleet, victim);
        await fleet.WholeAsync();
        Console.WriteLine(
            string.Create(
                CultureInfo.InvariantCulture,
                $"{fault, -14} whole again after {Stopwatch.GetElapsedTime(started).TotalSeconds, 4:0.0} s: "
                    + $"{_outcomes.Values.Sum() - before.Sent} answers, {Count(ClientOutcome.TypedError) - before.Errors} typed errors, "
                    + $"{Bad() - before.Bad} bad"
            )
        );
    }

    private Task DoAsync(ChaosFault fault, ChaosFleet fleet, TestedWorker victim) =>
        fault switch
        {
            ChaosFault.WorkerKilled => EndAsync(fleet, victim, () => victim.Process.Signal("KILL")),
            ChaosFault.WorkerStopped => EndAsync(fleet, victim, () => victim.Process.Signal("TERM")),
            ChaosFault.EngineKilled => EndAsync(fleet, victim, () => victim.SignalEngine("KILL")),
            ChaosFault.WorkerFrozen => PauseAsync(() => victim.Process.Signal("STOP"), () => victim.Process.Signal("CONT"), 2, 8),
            ChaosFault.EngineFrozen => PauseAsync(() => victim.SignalEngine("STOP"), () => victim.SignalEngine("CONT"), 2, 15),
            ChaosFault.NatsKilled => OutageAsync(fleet.Nats.Process.KillAsync, fleet.Nats.StartAgainAsync),
            ChaosFault.NatsFrozen => PauseAsync(fleet.Nats.Process.Freeze, fleet.Nats.Process.Thaw, 1, 4),
            ChaosFault.EtcdKilled => OutageAsync(fleet.Etcd.Process.KillAsync, fleet.Etcd.StartAgainAsync),
            ChaosFault.EtcdEmptied => OutageAsync(fleet.Etcd.Process.KillAsync, fleet.Etcd.StartEmptyAsync),
            ChaosFault.EtcdFrozen => PauseAsync(fleet.Etcd.Process.Freeze, fleet.Etcd.Process.Thaw, 1, 4),
            _ => throw new InvalidOperationException($"nothing is known of {fault}"),
        };

    private static async Task EndAsync(ChaosFleet fleet, TestedWorker victim, Action signal)
    {
        signal();
        await fleet.ReplaceAsync(victim);
    }

    private async Task PauseAsync(Action stop, Action go, double secondsMin, double secondsMax)
    {
        stop();
        await Task.Delay(Seconds(secondsMin, secondsMax));
        go();
    }

    private async Task OutageAsync(Func<Task> end, Func<Task> begin)
    {
        await end();
        await Task.Delay(Seconds(0.2, 3));
        await begin();
    }

    private TimeSpan Seconds(double min, double max) => TimeSpan.FromSeconds(min + (_chance.NextDouble() * (max - min)));

    private int Count(ClientOutcome outcome) => _outcomes.GetValueOrDefault(outcome);

    private int Bad() => Count(ClientOutcome.Hung) + Count(ClientOutcome.Broken) + Count(ClientOutcome.Different);

    private void Report(ChaosFleet fleet, TimeSpan time)
    {
        Console.WriteLine();
        Console.WriteLine(
            "| sent | correct | typed errors | whole, other words | broken | hung | lost by a ledger | faults | time | seed |"
        );
        Console.WriteLine("|---|---|---|---|---|---|---|---|---|---|");
        Console.WriteLine(
            string.Create(
                CultureInfo.InvariantCulture,
                $"| {_outcomes.Values.Sum()} | {Count(ClientOutcome.Correct)} | {Count(ClientOutcome.TypedError)} | "
                    + $"{Count(ClientOutcome.Different)} | {Count(ClientOutcome.Broken)} | {Count(ClientOutcome.Hung)} | "
                    + $"{fleet.Lost.Count} | "
                    + $"{string.Join(", ", _done.OrderBy(fault => fault.Key).Select(fault => $"{fault.Value} {fault.Key}"))} | "
                    + $"{time.TotalSeconds:0} s | {options.Seed} |"
            )
        );
        Console.WriteLine(
            $"accepted by workers that were not killed: {string.Join(", ", fleet.Accepted.Select(role => $"{role.Value} {role.Key}"))}"
        );
        foreach (var (words, count) in _words.OrderByDescending(pair => pair.Value))
        {
            Console.WriteLine($"{count, 6} x {words}");
        }

        foreach (var lost in fleet.Lost)
        {
            Console.WriteLine($"lost: {lost}");
        }

        if (fleet.FrontendEnded)
        {
            Console.WriteLine("the frontend ended: not a fault of a worker, but nothing that this run can say anything about");
        }
    }
}
