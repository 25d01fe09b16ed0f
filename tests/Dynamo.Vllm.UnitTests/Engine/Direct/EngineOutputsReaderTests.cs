using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Direct;

namespace Dynamo.Vllm.UnitTests.Engine.Direct;

public sealed class EngineOutputsReaderTests
{
    private int[] _tokens = new int[1];

    [Fact]
    public void The_first_output_tells_of_the_prompt()
    {
        var reader = new EngineOutputsReader(EngineFrames.FirstStep);
        Assert.True(reader.HasOutputs);
        Assert.True(reader.TryRead(ref _tokens, out var entry));
        Assert.Equal(0x93c5895ful, entry.Stream);
        Assert.Equal([460], entry.Tokens.ToArray());
        Assert.Equal(FinishReason.None, entry.Finish);
        Assert.Equal(new PrefillCounts(40, 40, 0, 0, 0), PrefillCounts.Read(entry.Prefill));
        Assert.False(entry.Events.IsEmpty);
        Assert.False(reader.TryRead(ref _tokens, out _));
        var sample = SchedulerSample.Read(reader.ReadRest(out var timestamp));
        Assert.Equal(1, sample.Running);
        Assert.Equal(40, sample.PrefixCache.Queries);
        Assert.False(sample.IsRare);
        Assert.InRange(timestamp, 1, 1e9);
    }

    [Fact]
    public void A_middle_output_is_a_token_and_nothing_else()
    {
        var reader = new EngineOutputsReader(EngineFrames.SecondStep);
        Assert.True(reader.TryRead(ref _tokens, out var entry));
        Assert.Equal([727], entry.Tokens.ToArray());
        Assert.Equal(0, entry.Surplus);
        Assert.True(entry.Prefill.IsEmpty && entry.Events.IsEmpty && entry.StopReason.IsEmpty && entry.KvTransferParams.IsEmpty);
    }

    [Fact]
    public void The_last_output_says_why()
    {
        var reader = new EngineOutputsReader(EngineFrames.LastStep);
        Assert.True(reader.TryRead(ref _tokens, out var entry));
        Assert.Equal(FinishReason.Length, entry.Finish);
    }

    [Fact]
    public void Statistics_can_come_alone()
    {
        var reader = new EngineOutputsReader(EngineFrames.IdleStatistics);
        Assert.False(reader.HasOutputs);
        Assert.False(reader.TryRead(ref _tokens, out _));
        Assert.Equal(0, SchedulerSample.Read(reader.ReadRest(out _)).Running);
    }

    [Fact]
    public void Bytes_beside_the_message_are_passed_over()
    {
        var reader = new EngineOutputsReader(EngineFrames.StepOfLogprobs);
        Assert.True(reader.TryRead(ref _tokens, out var entry));
        Assert.Equal([1610], entry.Tokens.ToArray());
        Assert.Equal(3, entry.Surplus); // prompt logprobs, after the logprobs
        reader.ReadRest(out _);
    }
}
