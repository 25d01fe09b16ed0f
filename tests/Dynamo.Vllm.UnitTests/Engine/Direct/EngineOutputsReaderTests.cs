using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Direct;
using Dynamo.Vllm.Protocol;

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

    [Fact]
    public void Damaged_bytes_are_refused_or_read_and_nothing_else_happens()
    {
        var random = new Random(7);
        byte[][] samples = [EngineFrames.FirstStep, EngineFrames.LastStep, EngineFrames.StepOfLogprobs, EngineFrames.IdleStatistics];
        for (var i = 0; i < 40_000; i++)
        {
            byte[] damaged = [.. samples[i % samples.Length]];
            for (var change = random.Next(1, 4); change > 0; change--)
            {
                damaged[random.Next(damaged.Length)] = (byte)random.Next(256);
            }

            ReadAll(i % 5 == 0 ? damaged[..random.Next(damaged.Length)] : damaged);
        }
    }

    private void ReadAll(byte[] body)
    {
        try
        {
            var reader = new EngineOutputsReader(body);
            while (reader.TryRead(ref _tokens, out var entry))
            {
                if (!entry.Prefill.IsEmpty)
                {
                    PrefillCounts.Read(entry.Prefill);
                }
            }

            var statistics = reader.ReadRest(out _);
            if (!statistics.IsEmpty)
            {
                SchedulerSample.Read(statistics);
            }
        }
        catch (ProtocolException)
        {
            // As it should be.
        }
    }
}
