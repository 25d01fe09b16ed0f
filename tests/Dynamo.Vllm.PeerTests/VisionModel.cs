using System.Diagnostics;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>A Qwen2-VL of a few layers with random weights, and what else the peers' Python makes for tests.</summary>
internal static class VisionModel
{
    public static Task MakeAsync(string folder) =>
        RunAsync(Path.Combine(SimulatedPaths.Root, "tests", "peers", "make_tiny_vision_model.py"), folder);

    /// <summary>The peers' Python with these arguments, to its good end.</summary>
    public static async Task RunAsync(params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(Peers.Python, arguments))!;
        await process.WaitForExitAsync();
        Assert.Equal(0, process.ExitCode);
    }
}
