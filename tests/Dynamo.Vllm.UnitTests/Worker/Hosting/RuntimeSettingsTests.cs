using System.Text.Json.Nodes;

namespace Dynamo.Vllm.UnitTests.Worker.Hosting;

/// <summary>Settings of the runtime as the build leaves them beside the worker: a
/// property of the project wins over the template (docs/threading.md).</summary>
public sealed class RuntimeSettingsTests
{
    [Fact]
    public void The_compiler_gathers_no_profile_and_pool_threads_do_not_spin()
    {
        var path = Path.Combine(AppContext.BaseDirectory, "Dynamo.Vllm.Worker.runtimeconfig.json");
        var settings = JsonNode.Parse(File.ReadAllText(path))!["runtimeOptions"]!["configProperties"]!;
        Assert.False(settings["System.Runtime.TieredPGO"]!.GetValue<bool>());
        Assert.Equal(0, settings["System.Threading.ThreadPool.UnfairSemaphoreSpinLimit"]!.GetValue<int>());
    }
}
