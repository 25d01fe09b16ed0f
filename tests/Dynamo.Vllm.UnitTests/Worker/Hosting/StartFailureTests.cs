using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Worker.Hosting;

namespace Dynamo.Vllm.UnitTests.Worker.Hosting;

public sealed class StartFailureTests
{
    [Fact]
    public void A_Python_without_vLLM_gets_a_line_that_says_what_to_do()
    {
        var failure = StartFailure.Of(new EngineCallException("unknown", "ModuleNotFoundError", "No module named 'vllm'", "Traceback ..."));
        Assert.Equal(1, failure.ExitCode);
        Assert.Contains("choose another one with --python", failure.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("Traceback", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Another_missing_module_keeps_its_traceback()
    {
        var failure = StartFailure.Of(
            new EngineCallException("unknown", "ModuleNotFoundError", "No module named 'vllm_plugin'", "Traceback ...")
        );
        Assert.Equal("ModuleNotFoundError: No module named 'vllm_plugin'\nTraceback ...", failure.Message);
    }
}
