using System.Diagnostics.CodeAnalysis;
using System.Text.RegularExpressions;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Engine;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.UnitTests.Core.Lifecycle;
using Dynamo.Vllm.Worker.StartUp;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Dynamo.Vllm.UnitTests.Worker.StartUp;

public sealed class StartProgressTests : IAsyncDisposable
{
    /// <summary>Of the pool, within which the loop has seen a tick: a busy machine must not leave it seconds behind.</summary>
    private const int Turns = 8;

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    private readonly FakeTimeProvider _time = new();
    private readonly StartSourceFake _source = new();
    private readonly LogCapture _log = new();
    private readonly TaskCompletionSource _fetched = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _loaded = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly StageSequence _stages;
    private readonly StartProgress _progress;

    public StartProgressTests()
    {
        _stages = new StageSequence(
            [
                new StageFake("model", []) { Up = _ => _fetched.Task },
                new StageFake("planes", []),
                new StageFake("engine", []) { Up = _ => _loaded.Task },
                new StageFake("watch", []),
            ],
            _time,
            NullLogger<StageSequence>.Instance
        );
        _progress = new StartProgress(
            _stages,
            _source,
            _time,
            new LoopPulses(_time),
            _log.For<StartProgress>(),
            NullLogger<LoopSupervisor>.Instance
        );
    }

    public async ValueTask DisposeAsync()
    {
        await _stages.DownAsync(new StopCause(StopKind.Asked, "asked"));
        _progress.Dispose();
        _log.Dispose();
    }

    [Fact]
    public async Task A_start_is_told_phase_by_phase()
    {
        _progress.Begin();
        Assert.Null(_progress.Now);
        var up = _stages.UpAsync(default);
        await SaidAsync("^Start: model, after 0.0 s$");
        _source.Fetched = new FetchProgress(1, 3, 5 << 20, 40 << 20);
        await SaidAsync(@"^Start: model, for 1\d s now, 1 of 3 files, 5.0 of 40.0 MiB$");
        Assert.Equal(("model", "1 of 3 files, 5.0 of 40.0 MiB"), (_progress.Now?.Phase, _progress.Now?.Detail));

        (_source.CheckpointBytes, _source.BytesRead) = (600 << 20, 100 << 20);
        _fetched.SetResult();
        await SaidAsync(@"^Start: engine processes, after \d+\.0 s$");
        _source.Take!("[gpu_model_runner.py:5256] Starting to load model x...");
        await SaidAsync(@"^Start: weights, after \d+\.0 s$");
        _source.BytesRead = 150 << 20;
        _source.Take!("Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:00<00:00, 1.0it/s]");
        await SaidAsync(
            @"^Start: weights, for 1\d s now, Loading safetensors checkpoint shards 1 of 2, "
                + "a checkpoint of 600.0 MiB, 50.0 MiB read from disks$"
        );
        _source.Take!("[default_loader.py:485] Loading weights took 1.0 seconds");
        await SaidAsync(@"^Start: memory profile, after \d+\.0 s$");
        _source.Take!("[gpu_model_runner.py:5256] Starting to load model y..."); // of a draft: there is no way back
        Assert.Equal("memory profile", _progress.Now?.Phase);

        _loaded.SetResult();
        await up.WaitAsync(Limit);
        await SaidAsync(@"^The start took model \d+\.0 s, engine processes \d+\.0 s, weights \d+\.0 s, memory profile \d+\.0 s$");
        Assert.Null(_progress.Now);
        Assert.Null(_source.Take);
        Assert.DoesNotContain("planes", _log.Text, StringComparison.Ordinal); // over at once
        var durations = _progress.Durations();
        _time.Advance(TimeSpan.FromHours(1));
        Assert.Equal(durations, _progress.Durations());
    }

    [Fact]
    public async Task A_start_that_fails_is_not_summed_up()
    {
        _progress.Begin();
        _fetched.SetException(new InvalidOperationException("no such model"));
        await Assert.ThrowsAsync<InvalidOperationException>(() => _stages.UpAsync(default));
        Assert.Equal("model", _progress.Now?.Phase);
        await _stages.DownAsync(new StopCause(StopKind.StartFailed, "no such model"));
        Assert.Null(_progress.Now);
        Assert.Null(_source.Take);
        Assert.DoesNotContain("The start took", _log.Text, StringComparison.Ordinal);
    }

    /// <summary>Lets seconds pass until a line says it.</summary>
    private Task SaidAsync([StringSyntax(StringSyntaxAttribute.Regex)] string pattern) =>
        Polling.UntilAsync(
            $"not said: {pattern}",
            Limit,
            async () =>
            {
                if (_log.Lines.Any(line => Regex.IsMatch(line.Text, pattern)))
                {
                    return true;
                }

                _time.Advance(TimeSpan.FromSeconds(1));
                for (var turn = 0; turn < Turns; turn++)
                {
                    await Task.Run(static () => { });
                }

                return false;
            }
        );
}
