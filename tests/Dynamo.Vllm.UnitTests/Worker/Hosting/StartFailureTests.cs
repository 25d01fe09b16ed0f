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

    [Fact]
    public void The_reason_is_that_of_the_engine_s_process_where_vLLM_only_points_at_it()
    {
        var call = new EngineCallException(
            "unknown",
            "RuntimeError",
            "Engine core initialization failed. See root cause above.",
            "Traceback"
        );
        var failure = StartFailure.Of(call, "ValueError: no such head size");
        Assert.Equal(
            "ValueError: no such head size (RuntimeError here: Engine core initialization failed. See root cause above.)\nTraceback",
            failure.Message
        );
        Assert.StartsWith("RuntimeError: Engine core", StartFailure.Of(call).Message, StringComparison.Ordinal);
        var other = new EngineCallException("unknown", "ValueError", "max_model_len is too large", null);
        Assert.Equal("ValueError: max_model_len is too large", StartFailure.Of(other, "OSError: of long ago").Message);
    }
}
