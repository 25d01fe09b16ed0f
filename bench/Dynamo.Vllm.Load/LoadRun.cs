using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.Load;

/// <summary>Starts the peers, warms both stacks, and prints the rounds with the ratio of their medians.</summary>
internal static class LoadRun
{
    public static async Task<int> RunAsync(LoadOptions options)
    {
        using var store = new TemporaryFolder();
        using var officialStore = new TemporaryFolder();
        var variables = Variables(store, options);
        await using var frontend = Frontend.Start(variables, "--router-mode", "round-robin");
        await using var ours = await LoadedStack.StartAsync("ours", store.Path, variables, frontend, options);
        if (options.IsSimulated)
        {
            return await MeasureAsync([ours], options);
        }

        if (!options.IsDisaggregated)
        {
            await using var beside = await LoadedStack.StartAsync("official", store.Path, variables, frontend, options);
            return await MeasureAsync([ours, beside], options);
        }

        // Prefill workers of one namespace serve each other's decode workers: two stacks have a frontend each.
        var officialVariables = Variables(officialStore, options);
        await using var officialFrontend = Frontend.Start(officialVariables, "--router-mode", "round-robin");
        await using var official = await LoadedStack.StartAsync(
            "official",
            officialStore.Path,
            officialVariables,
            officialFrontend,
            options
        );
        return await MeasureAsync([ours, official], options);
    }

    private static Dictionary<string, string> Variables(TemporaryFolder store, LoadOptions options) =>
        options.EngineArguments.Count == 0 ? Peers.Variables(store.Path) : Peers.PlaneVariables(store.Path);

    private static async Task<int> MeasureAsync(LoadedStack[] stacks, LoadOptions options)
    {
        var failed = 0;
        foreach (var streams in options.Streams)
        {
            Console.WriteLine($"{streams} streams");
            await RoundAsync(stacks, streams, options); // code is compiled and caches are filled in a round that does not count
            var results = new List<LoadRound>();
            for (var round = 0; round < options.Rounds; round++)
            {
                var last = await RoundAsync(stacks, streams, options);
                last.ForEach(Console.WriteLine);
                results.AddRange(last);
            }

            failed += results.Sum(result => result.Failed);
            for (var worker = 0; worker < stacks[0].Processes.Count && stacks.Length == 2; worker++)
            {
                double Median(string name) =>
                    results
                        .Where(result => result.Name == name)
                        .Select(result => result.CpuMicrosecondsPerToken(worker))
                        .Order()
                        .ElementAt(options.Rounds / 2);
                var role = RoleOf(worker, options);
                Console.WriteLine(
                    $"CPU per token{role}, ours / official: {Median("ours"):F1} / {Median("official"):F1} us = "
                        + $"{Median("ours") / Median("official"):F2}"
                );
            }
        }

        return failed == 0 ? 0 : 1;
    }

    private static string RoleOf(int worker, LoadOptions options) =>
        (options.IsDisaggregated, worker) switch
        {
            (false, _) => "",
            (true, 0) => " of the decode worker",
            _ => " of the prefill worker",
        };

    /// <summary>Each stack once.</summary>
    private static async Task<List<LoadRound>> RoundAsync(LoadedStack[] stacks, int streams, LoadOptions options)
    {
        var results = new List<LoadRound>();
        foreach (var stack in stacks)
        {
            results.Add(await LoadRound.RunAsync(stack, streams, options));
        }

        return results;
    }
}
