using Dynamo.Vllm.Worker.StartUp;

namespace Dynamo.Vllm.UnitTests.Worker.StartUp;

public sealed class EngineErrorsTests
{
    private const string Logged = "(EngineCore pid=7) ERROR 11-29 15:12:58 [core.py:1433] ";

    [Theory]
    [InlineData(Logged + "RuntimeError: Insufficient space in /dev/shm", "RuntimeError: Insufficient space in /dev/shm")]
    [InlineData("(EngineCore_DP0 pid=7) torch.OutOfMemoryError: CUDA out of memory.", "torch.OutOfMemoryError: CUDA out of memory.")]
    [InlineData("(VllmWorker-0 pid=22324) ValueError: no such head size: 96 ", "ValueError: no such head size: 96")]
    public void The_last_line_of_a_traceback_is_understood(string line, string error) => Assert.Equal(error, EngineErrors.Read(line));

    [Theory]
    [InlineData(Logged + "Traceback (most recent call last):")]
    [InlineData(Logged + "  File \"core.py\", line 1, in run_engine_core")]
    [InlineData("(EngineCore pid=7) Exception: WorkerProc initialization failed. See stack trace for root cause.")]
    [InlineData("(EngineCore pid=7) WARNING 11-29 15:12:59 [indexer_topk.py:35] ImportError: No module named 'vllm._deepselect_C'")]
    [InlineData("2026-11-29T15:13:26.759029Z  INFO vllm.v1: ValueError: x")]
    public void Other_lines_say_nothing(string line) => Assert.Null(EngineErrors.Read(line));

    [Fact]
    public void The_first_one_stays()
    {
        var errors = new EngineErrors();
        Assert.Null(errors.First);
        errors.Take("(Worker_TP1 pid=8) ERROR 11-29 15:12:58 [multiproc_executor.py:5] OSError: the file is gone");
        errors.Take(Logged + "RuntimeError: a worker died");
        Assert.Equal("OSError: the file is gone", errors.First);
    }
}
