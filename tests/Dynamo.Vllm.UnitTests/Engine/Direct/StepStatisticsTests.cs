using System.Buffers;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Direct;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.UnitTests.Engine.Direct;

/// <summary>Steps are counted as <c>IterationStats</c> of vLLM counts them.</summary>
public sealed class StepStatisticsTests : IDisposable
{
    private readonly GuestBorder _border = new();
    private readonly StepStatistics _statistics = new();

    [Fact]
    public void Steps_are_added_up_and_times_are_kept()
    {
        var (first, second) = (Request(arrival: 100), Request(arrival: 100.5));
        Add([Share(first, 1, new PrefillCounts(40, 30, 10, 10, 0)), Share(second, 1)], timestamp: 1.0, now: 101);
        Add([Share(first, 1), Share(second, 1)], timestamp: 1.25, now: 101.25);
        Add([Share(first, 2, finish: FinishReason.Stop)], timestamp: 1.5, now: 101.5);
        var report = Write();
        Assert.Equal(6, (int)report["generated"]!);
        Assert.Equal("[40,30,10,10,0]", report["prefill"]!.ToJsonString());
        Assert.Equal("[1,0.5]", report["first_token_times"]!.ToJsonString());
        Assert.Equal("[[0.25,3]]", report["token_times"]!.ToJsonString());
        Assert.Equal("[[32,1],[2,2]]", report["iterations"]!.ToJsonString());
        var finished = Assert.Single(report["finished"]!.AsArray())!;
        Assert.Equal(
            (0, 1.5, 4, 7),
            (
                (int)finished["finish_reason"]!,
                (double)finished["e2e_latency"]!,
                (int)finished["num_generation_tokens"]!,
                (int)finished["max_tokens_param"]!
            )
        );
        Assert.Equal((0.5, 0.5 / 3), ((double)finished["decode_time"]!, (double)finished["mean_time_per_output_token"]!));
        Assert.Null(report["scheduler"]);
    }

    [Fact]
    public void The_scheduler_s_gauges_are_those_of_the_last_step_and_its_counts_those_of_all()
    {
        var sample = SchedulerSample.Read(Statistics(EngineFrames.FirstStep));
        _statistics.Add(new EngineStep([], hasOutputs: false, sample, timestamp: 5), now: 1);
        var last = SchedulerSample.Read(Statistics(EngineFrames.LastStep));
        _statistics.Add(new EngineStep([], hasOutputs: false, last, timestamp: 6), now: 2);
        var report = Write();
        Assert.Equal(6.0, (double)report["sampled_at"]!);
        Assert.Equal(0, (int)report["scheduler"]!["num_running_reqs"]!);
        Assert.Equal(40, (int)report["prefix_cache"]!["queries"]!);
        Assert.Equal("[]", report["iterations"]!.ToJsonString()); // no outputs: vLLM counts no iteration
        _statistics.Clear();
        Assert.True(_statistics.IsEmpty);
    }

    [Fact]
    public void A_step_for_requests_that_were_all_aborted_is_an_iteration_without_tokens()
    {
        Add([], timestamp: 1, now: 1);
        Assert.Equal("[[0,1]]", Write()["iterations"]!.ToJsonString());
    }

    [Fact]
    public void What_a_connector_brings_is_counted_as_the_prefix_cache_is()
    {
        // As every step of a prefill or decode worker tells it.
        var none = Pack("""{"num_running_reqs":0,"connector_prefix_cache_stats":{"reset":false,"requests":0,"queries":0,"hits":0}}""");
        var some = Pack("""{"num_running_reqs":1,"connector_prefix_cache_stats":{"reset":false,"requests":1,"queries":30,"hits":20}}""");
        foreach (var sample in new[] { SchedulerSample.Read(some), SchedulerSample.Read(none), SchedulerSample.Read(some) })
        {
            Assert.False(sample.IsRare); // otherwise each step would be a message to the interpreter
            _statistics.Add(new EngineStep([], hasOutputs: false, sample, timestamp: 1), now: 1);
        }

        var report = Write();
        Assert.Equal((60, 40), ((int)report["connector_cache"]!["queries"]!, (int)report["connector_cache"]!["hits"]!));
        _statistics.Clear();
        _statistics.Add(new EngineStep([], hasOutputs: false, SchedulerSample.Read(Pack("{}")), timestamp: 2), now: 2);
        Assert.Null(Write()["connector_cache"]);
        Assert.True(SchedulerSample.Read(Pack("""{"connector_prefix_cache_stats":{"reset":true}}""")).IsReset);
    }

    [Fact]
    public void A_request_that_was_preempted_says_so()
    {
        var request = Request(arrival: 1);
        var events = EngineEvents.Read(
            Pack(
                """
                [{"type":1,"timestamp":2.5},{"type":2,"timestamp":3.0},{"type":3,"timestamp":3.5},{"type":2,"timestamp":4.0}]
                """
            )
        );
        request.Note(events);
        request.Note(new EngineEvents(0, 9.0, 1));
        Assert.Equal((2, 2.5, 3.0), (request.Preemptions, request.QueuedAt, request.ScheduledAt));
    }

    public void Dispose() => _border.Dispose();

    private void Add(StepShare[] shares, double timestamp, double now) =>
        _statistics.Add(new EngineStep(shares, hasOutputs: true, scheduler: null, timestamp), now);

    private static StepShare Share(
        DirectRequest request,
        int tokens,
        PrefillCounts prefill = default,
        FinishReason finish = FinishReason.None
    ) => new(request, tokens, 0, prefill, finish);

    private static byte[] Pack(string json)
    {
        var output = new ArrayBufferWriter<byte>();
        Dynamo.Vllm.Protocol.MessagePack.MessagePackJson.WriteMessagePack(System.Text.Encoding.UTF8.GetBytes(json), output);
        return output.WrittenSpan.ToArray();
    }

    private static ReadOnlySpan<byte> Statistics(byte[] step)
    {
        var tokens = new int[1];
        var reader = new EngineOutputsReader(step);
        while (reader.TryRead(ref tokens, out _)) { }

        return reader.ReadRest(out _);
    }

    private DirectRequest Request(double arrival)
    {
        var request = new EngineRequest
        {
            RequestId = "r",
            Options = new PreprocessedRequest(),
            MaxTokens = 7,
        };
        return new DirectRequest(new EngineStream(_border.Commands, 1), "r-1", request, arrival);
    }

    private JsonObject Write()
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            _statistics.Write(json, now: 200);
        }

        return JsonNode.Parse(buffer.WrittenSpan)!.AsObject();
    }
}
