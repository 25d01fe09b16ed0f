using System.Diagnostics;
using System.Globalization;

namespace Dynamo.Vllm.Testing.Adapters;

/// <summary>LoRA adapters for the models of the tests.</summary>
public static class TestAdapter
{
    /// <summary>Makes one that changes the tokens of the model.</summary>
    /// <param name="model">Folder of the model.</param>
    /// <param name="folder">Where it comes to lie.</param>
    /// <param name="seed">Adapters of different seeds have different weights.</param>
    /// <param name="rank">vLLM takes 16 at most unless it is told otherwise.</param>
    /// <returns>The folder.</returns>
    public static async Task<string> MakeAsync(string model, string folder, int seed, int rank = 8)
    {
        var script = Path.Combine(SimulatedPaths.Root, "tests", "Dynamo.Vllm.Testing", "Adapters", "make_adapter.py");
        using var process = Process.Start(
            new ProcessStartInfo(
                "python3",
                [
                    script,
                    model,
                    folder,
                    "--seed",
                    seed.ToString(CultureInfo.InvariantCulture),
                    "--rank",
                    rank.ToString(CultureInfo.InvariantCulture),
                ]
            )
        )!;
        await process.WaitForExitAsync();
        return process.ExitCode == 0 ? folder : throw new InvalidOperationException($"{script} ended with {process.ExitCode}");
    }
}
