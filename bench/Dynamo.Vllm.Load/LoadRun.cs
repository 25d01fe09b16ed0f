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
        var variables = Peers.Variables(store.Path);
        await using var frontend = Frontend.Start(variables, "--router-mode", "round-robin");
        string[] named = [.. Peers.EngineArguments.Where(argument => argument is not ("--served-model-name" or "tiny")), "--max-num-seqs", "256", "--num-gpu-blocks-override", "4096"];
        await using var ours = options.IsSimulated
            ? WorkerProcess.StartSimulated(store.Path, ["--served-model-name", "ours", "--max-num-seqs", "512"], variables)
            : WorkerProcess.Start(store.Path, ["--python", Peers.Python, .. named, "--served-model-name", "ours"], variables);
        await ours.ReadyAsync(StartLimit);
        await frontend.ServesAsync("ours", StartLimit);
        if (options.IsSimulated)
        {
            return await AloneAsync(frontend, ours, options);
        }

        variables["DYN_SYSTEM_PORT"] = FreePorts.Next().ToString(CultureInfo.InvariantCulture);
        await using var official = new ChildProcess("official", Peers.Python, ["-m", "dynamo.vllm", .. named, "--served-model-name", "official"], variables);
        await frontend.ServesAsync("official", StartLimit);
        return await CompareAsync(frontend, ours, official, options);
    }

    private static async Task<int> AloneAsync(Frontend frontend, WorkerProcess ours, LoadOptions options)
    {
        await LoadRound.RunAsync(frontend, "ours", ours.Process.Id, options);
        var failed = 0;
        for (var round = 0; round < options.Rounds; round++)
        {
            var result = await LoadRound.RunAsync(frontend, "ours", ours.Process.Id, options);
            Console.WriteLine(result);
            failed += result.Failed;
        }

        return failed == 0 ? 0 : 1;
    }

    private static async Task<int> CompareAsync(Frontend frontend, WorkerProcess ours, ChildProcess official, LoadOptions options)
    {
        // Code is compiled and caches are filled in a round that does not count.
        await LoadRound.RunAsync(frontend, "ours", ours.Process.Id, options);
        await LoadRound.RunAsync(frontend, "official", official.Id, options);
        var results = new List<LoadRound>();
        for (var round = 0; round < options.Rounds; round++)
        {
            results.Add(await LoadRound.RunAsync(frontend, "ours", ours.Process.Id, options));
            Console.WriteLine(results[^1]);
            results.Add(await LoadRound.RunAsync(frontend, "official", official.Id, options));
            Console.WriteLine(results[^1]);
        }

        double Median(string name) => results.Where(result => result.Name == name).Select(result => result.CpuMicrosecondsPerToken).Order().ElementAt(options.Rounds / 2);
        Console.WriteLine($"CPU per token, ours / official: {Median("ours"):F1} / {Median("official"):F1} us = {Median("ours") / Median("official"):F2}");
        return results.Sum(result => result.Failed) == 0 ? 0 : 1;
    }
}
