using System.Globalization;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.Load;

/// <summary>Starts the peers, warms both workers, and prints the rounds with the ratio of their medians.</summary>
internal static class LoadRun
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(5);

    public static async Task<int> RunAsync(LoadOptions options)
    {
        using var store = new TemporaryFolder();
        var variables = options.EngineArguments.Count == 0 ? Peers.Variables(store.Path) : Peers.PlaneVariables(store.Path);
        await using var frontend = Frontend.Start(variables, "--router-mode", "round-robin");
        if (options.IsSimulated)
        {
            await using var alone = WorkerProcess.StartSimulated(
                store.Path,
                ["--served-model-name", "ours", "--max-num-seqs", "512"],
                variables
            );
            await alone.ReadyAsync(StartLimit);
            await frontend.ServesAsync("ours", StartLimit);
            return await MeasureAsync(frontend, [("ours", alone.Process.Id)], options);
        }

        IReadOnlyList<string> arguments = options.EngineArguments.Count == 0 ? TinyOnCpu : options.EngineArguments;
        await using var ours = WorkerProcess.Start(
            store.Path,
            ["--python", Peers.Python, .. arguments, "--served-model-name", "ours"],
            variables
        );
        await ours.ReadyAsync(StartLimit);
        await frontend.ServesAsync("ours", StartLimit);
        variables["DYN_SYSTEM_PORT"] = FreePorts.Next().ToString(CultureInfo.InvariantCulture);
        await using var official = new ChildProcess(
            "official",
            Peers.Python,
            ["-m", "dynamo.vllm", .. arguments, "--served-model-name", "official"],
            variables
        );
        await frontend.ServesAsync("official", StartLimit);
        return await MeasureAsync(frontend, [("ours", ours.Process.Id), ("official", official.Id)], options);
    }

    private static IReadOnlyList<string> TinyOnCpu =>
        [
            .. Peers.EngineArguments.Where(argument => argument is not ("--served-model-name" or "tiny")),
            "--max-num-seqs",
            "256",
            "--num-gpu-blocks-override",
            "4096",
        ];

    private static async Task<int> MeasureAsync(Frontend frontend, (string Name, int Process)[] workers, LoadOptions options)
    {
        var failed = 0;
        foreach (var streams in options.Streams)
        {
            Console.WriteLine($"{streams} streams");
            await RoundAsync(frontend, workers, streams, options); // code is compiled and caches are filled in a round that does not count
            var results = new List<LoadRound>();
            for (var round = 0; round < options.Rounds; round++)
            {
                var last = await RoundAsync(frontend, workers, streams, options);
                last.ForEach(Console.WriteLine);
                results.AddRange(last);
            }

            failed += results.Sum(result => result.Failed);
            if (workers.Length == 2)
            {
                double Median(string name) =>
                    results
                        .Where(result => result.Name == name)
                        .Select(result => result.CpuMicrosecondsPerToken)
                        .Order()
                        .ElementAt(options.Rounds / 2);
                Console.WriteLine(
                    $"CPU per token, ours / official: {Median("ours"):F1} / {Median("official"):F1} us = "
                        + $"{Median("ours") / Median("official"):F2}"
                );
            }
        }

        return failed == 0 ? 0 : 1;
    }

    /// <summary>Each worker once.</summary>
    private static async Task<List<LoadRound>> RoundAsync(
        Frontend frontend,
        (string Name, int Process)[] workers,
        int streams,
        LoadOptions options
    )
    {
        var results = new List<LoadRound>();
        foreach (var (name, process) in workers)
        {
            results.Add(await LoadRound.RunAsync(frontend, name, process, streams, options));
        }

        return results;
    }
}
