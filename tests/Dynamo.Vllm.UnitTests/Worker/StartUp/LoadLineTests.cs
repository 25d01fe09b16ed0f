using Dynamo.Vllm.Worker.StartUp;

namespace Dynamo.Vllm.UnitTests.Worker.StartUp;

/// <summary>Lines as vLLM 0.31 wrote them, on a CPU and on an H200.</summary>
public sealed class LoadLineTests
{
    [Theory]
    [InlineData("(Worker pid=1940) INFO 11-29 13:53:52 [cpu_model_runner.py:69] Starting to load model /models/x...", "Weights", null)]
    [InlineData("Loading safetensors checkpoint shards:   0% Completed | 0/4 [00:00<?, ?it/s]", "Weights", "0 of 4")]
    [InlineData("Loading safetensors checkpoint shards: 100% Completed | 4/4 [00:00<00:00, 183.87it/s]", "Weights", "4 of 4")]
    [InlineData("(Worker pid=1940) INFO 11-29 13:53:52 [default_loader.py:484] Loading weights took 0.01 seconds", "Memory", null)]
    [InlineData("INFO 11-29 13:53:52 [gpu_model_runner.py:5355] Model loading took 14.9 GiB memory and 3.1 seconds", "Memory", null)]
    [InlineData("INFO 11-29 13:53:52 [cpu_model_runner.py:88] Warming up model for the compilation...", "Compilation", null)]
    [InlineData("INFO 11-29 [backends.py:1100] Using cache directory: /c for vLLM's torch.compile", "Compilation", null)]
    [InlineData("(EngineCore pid=828) INFO 11-29 15:12:37 [model_runner.py:375] Loading model from scratch...", "Weights", null)]
    [InlineData("(EngineCore pid=828) INFO [model_runner.py:407] Model loading took 1.84 GiB memory and 1.935531 seconds", "Memory", null)]
    [InlineData("(EngineCore pid=828) INFO [backends.py:1151] Dynamo bytecode transform time: 3.68 s", "Compilation", null)]
    [InlineData("Capturing CUDA graphs (FULL): 100%|##########| 2/2 [00:00<00:00, 48.22it/s]", "WarmUp", "2 of 2")]
    [InlineData("(EngineCore pid=828) INFO 11-29 15:12:58 [gpu_worker.py:692] Available KV cache memory: 38.76 GiB", "WarmUp", null)]
    [InlineData("(EngineCore pid=1908) INFO 11-29 [kv_cache_utils.py:2464] CPU KV cache size: 1,048,576 tokens, Maximum", "WarmUp", null)]
    [InlineData("Capturing CUDA graphs (decode, FULL):  40%|####      | 14/35 [00:01<00:02,  9.1it/s]", "WarmUp", "14 of 35")]
    [InlineData("INFO [core.py:381] init engine (profile, create kv cache, warmup model) took 9.00 s", "FrontEnd", null)]
    public void A_line_of_the_load_is_understood(string line, string phase, string? count)
    {
        var told = LoadLine.Read(line);
        Assert.NotNull(told);
        Assert.Equal(phase, told.Phase.ToString());
        Assert.Equal(count is null, told.Detail is null);
        Assert.EndsWith(count ?? "", told.Detail ?? "", StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("(EngineCore pid=1908) INFO 11-29 13:53:42 [core.py:129] Initializing a V1 LLM engine (v0.31.0)")]
    [InlineData("(EngineCore pid=828) INFO 11-29 [model_runner.py:1087] Graph capturing finished in 3 secs, took 0.35")]
    [InlineData("Fetching 4 files: 100%|##########| 4/4 [00:00<00:00,  9.1it/s]")]
    [InlineData("Loading safetensors checkpoint shards")]
    [InlineData("2026-11-29T13:53:34.409657Z  INFO Dynamo.Vllm.Worker.StartUp.StartProgress: Start: weights, after 12.1 s")]
    public void Other_lines_say_nothing(string line) => Assert.Null(LoadLine.Read(line));
}
