using Dynamo.Vllm.Testing.Probes;

namespace Dynamo.Vllm.PythonTests;

/// <summary>A worker is judged by its probes, whatever keeps it busy. <c>bench/Dynamo.Vllm.Probes</c> measures how fast they are.</summary>
public sealed class ProbeTests
{
    /// <summary>A kubelet waits a second by default; the tests' machine may be busy with other tests.</summary>
    private static readonly TimeSpan AnswerLimit = TimeSpan.FromSeconds(5);

    [Theory]
    [InlineData(ProbeSituation.InterpreterBusy)]
    [InlineData(ProbeSituation.EngineFrozen)]
    [InlineData(ProbeSituation.ThousandStreams)]
    [InlineData(ProbeSituation.ConnectionsFull)]
    public async Task Every_probe_is_answered(ProbeSituation situation)
    {
        await using var scene = await ProbeScene.OpenAsync(situation);
        Assert.Equal([200], (await scene.MeasureAsync("/live", 50, AnswerLimit)).Statuses);
        await scene.MeasureAsync("/health", 50, AnswerLimit); // an engine that does nothing is suspected, so it may be either
        Assert.Equal([200], (await scene.MeasureAsync("/metrics", 20, AnswerLimit)).Statuses);
    }
}
