using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Disaggregation;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Generate;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Microsoft.Extensions.Time.Testing;
using Prometheus;

namespace Dynamo.Vllm.UnitTests.Core;

public sealed class GenerateHandlerTests
{
    private const string Request = """{"token_ids":[1,2,3],"stop_conditions":{"max_tokens":5}}""";

    private const string DecodeRequest =
        """{"token_ids":[1,2,3],"prefill_result":{"disaggregated_params":{"kv_transfer_params":{"remote_block_ids":[[4,5]],"remote_port":null}},"prompt_tokens_details":{"audio_tokens":null,"cached_tokens":2}}}""";

    private static readonly GenerateOptions Options = new() { BaseModelNames = new HashSet<string> { "tiny" } };

    private readonly ScriptedEngine _engine = new();
    private readonly ResponsesFake _responses = new();

    [Fact]
    public async Task Items_carry_usage_first_and_last_and_the_engine_data_at_the_end()
    {
        var run = Start(new AggregatedHandler(_engine, Options, null, null), Request, out _);
        _engine.Streams[0].Push([960]);
        _engine.Streams[0].Push([79]);
        _engine.Streams[0].Push([382], FinishReason.Length, isLast: true);
        await run;
        Assert.Equal(
            [
                """{"index":0,"token_ids":[960],"completion_usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4,"prompt_tokens_details":{"cached_tokens":0}}}""",
                """{"index":0,"token_ids":[79]}""",
                """{"index":0,"token_ids":[382],"completion_usage":{"prompt_tokens":3,"completion_tokens":3,"total_tokens":6,"prompt_tokens_details":{"cached_tokens":0}},"finish_reason":"length","engine_data":{"kv_cache_hit":{"prompt_tokens":3,"reused_tokens":0}}}""",
            ],
            _responses.Items.Select(item => item.ToJsonString()));
    }

    [Theory]
    [InlineData("""{"token_ids":[1,2,3]}""", 97)]
    [InlineData("""{"token_ids":[1,2,3],"stop_conditions":null}""", 97)]
    [InlineData("""{"token_ids":[1,2,3],"stop_conditions":{"max_tokens":5000}}""", 5000)]
    public async Task Max_tokens_is_the_client_s_or_the_room_that_is_left(string body, int maxTokens)
    {
        var run = Start(new AggregatedHandler(_engine, Options, null, null), body, out _);
        _engine.Streams[0].Push([1], FinishReason.Stop, isLast: true);
        await run;
        Assert.Equal(maxTokens, _engine.Requests[0].MaxTokens);
    }

    [Fact]
    public async Task A_client_that_leaves_aborts_the_engine_and_gets_nothing_more()
    {
        var run = Start(new AggregatedHandler(_engine, Options, null, null), Request, out var context);
        _engine.Streams[0].Push([1]);
        context.Cancel(CancellationCause.Kill);
        await run;
        Assert.Equal(1, _engine.Streams[0].Aborts);
        Assert.True(_responses.Items.Count <= 1);
    }

    [Fact]
    public async Task Shutdown_ends_with_the_cancelled_item_and_the_migratable_error()
    {
        var run = Start(new AggregatedHandler(_engine, Options, null, null), Request, out var context);
        _engine.Streams[0].Push([1]);
        context.Cancel(CancellationCause.Shutdown);
        var failure = await Assert.ThrowsAsync<RequestFailedException>(() => run);
        Assert.Equal("backend.engine_shutdown", failure.Error.Reason);
        Assert.Equal("cancelled", _responses.Items[^1]["finish_reason"]!.GetValue<string>());
    }

    [Fact]
    public async Task Decode_keeps_an_abort_until_the_blocks_are_pulled()
    {
        var run = Start(new DecodeHandler(_engine, Options, null, null), DecodeRequest, out var context);
        var stream = _engine.Streams[0];
        context.Cancel(CancellationCause.Kill);
        Assert.Equal(0, stream.Aborts);
        stream.Push([1]);
        await run;
        Assert.Equal(1, stream.Aborts);
        Assert.Empty(_responses.Items);
    }

    [Fact]
    public async Task Decode_pulls_even_when_its_caller_is_gone_before_it_starts()
    {
        var context = Context(DecodeRequest);
        context.Cancel(CancellationCause.Disconnect);
        var run = new DecodeHandler(_engine, Options, null, null).HandleAsync(context, _responses);
        var stream = Assert.Single(_engine.Streams);
        stream.Push([1]);
        await run;
        Assert.Equal(1, stream.Aborts);
    }

    [Fact]
    public async Task Aggregated_requests_of_a_caller_that_is_gone_never_start()
    {
        var context = Context(Request);
        context.Cancel(CancellationCause.Disconnect);
        await new AggregatedHandler(_engine, Options, null, null).HandleAsync(context, _responses);
        Assert.Empty(_engine.Streams);
    }

    [Fact]
    public async Task Decode_hands_the_parameters_on_untouched_and_replaces_the_usage_details()
    {
        var run = Start(new DecodeHandler(_engine, Options, null, null), DecodeRequest, out _);
        _engine.Streams[0].Push([1], FinishReason.Stop, isLast: true, cached: 99);
        await run;
        Assert.Equal("""{"remote_block_ids":[[4,5]],"remote_port":null}""", Encoding.UTF8.GetString(_engine.Requests[0].KvTransferParamsJson!.Value.Span));
        Assert.Equal("""{"audio_tokens":null,"cached_tokens":2}""", _responses.Items[0]["completion_usage"]!["prompt_tokens_details"]!.ToJsonString());
        Assert.Null(_responses.Items[0]["engine_data"]);
    }

    [Fact]
    public async Task The_bypass_annotation_makes_a_decode_worker_aggregated()
    {
        var run = Start(new DecodeHandler(_engine, Options, null, null), """{"token_ids":[1],"annotations":["x-bypass-remote-prefill"]}""", out var context);
        context.Cancel(CancellationCause.Kill);
        await run;
        Assert.Equal(1, _engine.Streams[0].Aborts);
    }

    [Fact]
    public async Task Prefill_runs_one_token_and_hands_over_without_index_and_finish_reason()
    {
        var ledger = new HandOverLedger(TimeSpan.FromSeconds(30), new FakeTimeProvider(), Metrics.NewCustomRegistry());
        var handler = new PrefillHandler(_engine, Options, null, KvConnectorProtocols.Resolve(_engine.Description), ledger);
        var run = Start(handler, """{"token_ids":[1,2,3],"stop_conditions":{"max_tokens":50,"min_tokens":9}}""", out _);
        _engine.Streams[0].Push([7], FinishReason.Length, isLast: true, more: output => output.KvTransferParamsJson = """{"remote_block_ids":[[1]]}"""u8.ToArray());
        await run;
        Assert.Equal(1, _engine.Requests[0].MaxTokens);
        Assert.Equal(1, _engine.Requests[0].MinTokens);
        Assert.Contains("\"do_remote_decode\":true", Encoding.UTF8.GetString(_engine.Requests[0].KvTransferParamsJson!.Value.Span), StringComparison.Ordinal);
        Assert.Equal(
            """{"token_ids":[7],"disaggregated_params":{"kv_transfer_params":{"remote_block_ids":[[1]]}},"completion_usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4,"prompt_tokens_details":{"cached_tokens":0}},"engine_data":{"kv_cache_hit":{"prompt_tokens":3,"reused_tokens":0}}}""",
            _responses.Items[0].ToJsonString());
        Assert.Equal(1, ledger.Pending);
    }

    [Fact]
    public async Task A_probe_of_a_prefill_worker_hands_nothing_over()
    {
        var ledger = new HandOverLedger(TimeSpan.FromSeconds(30), new FakeTimeProvider(), Metrics.NewCustomRegistry());
        var handler = new PrefillHandler(_engine, Options, null, KvConnectorProtocols.Resolve(_engine.Description), ledger);
        var run = Start(handler, """{"token_ids":[1],"_HEALTH_CHECK":true}""", out _);
        _engine.Streams[0].Push([7], FinishReason.Length, isLast: true, more: output => output.KvTransferParamsJson = "{}"u8.ToArray());
        await run;
        Assert.Null(_engine.Requests[0].KvTransferParamsJson);
        Assert.True(_responses.Items[0].ContainsKey("disaggregated_params"));
        Assert.Null(_responses.Items[0]["disaggregated_params"]);
        Assert.Equal(0, ledger.Pending);
    }

    [Fact]
    public void Held_blocks_are_counted_until_the_lease_ends_or_the_cache_is_empty()
    {
        var time = new FakeTimeProvider();
        var ledger = new HandOverLedger(TimeSpan.FromSeconds(30), time, Metrics.NewCustomRegistry());
        ledger.Add();
        time.Advance(TimeSpan.FromSeconds(20));
        ledger.Add();
        Assert.Equal(2, ledger.Pending);
        time.Advance(TimeSpan.FromSeconds(11));
        Assert.Equal(1, ledger.Pending);
        ledger.Observe(new EngineLoad(0, 0.5, 0, 0));
        Assert.Equal(1, ledger.Pending);
        ledger.Observe(new EngineLoad(0, 0, 0, 0));
        Assert.Equal(0, ledger.Pending);
    }

    [Fact]
    public void An_idle_engine_that_still_holds_blocks_counts_as_one_hand_over_after_the_lease()
    {
        var time = new FakeTimeProvider();
        var ledger = new HandOverLedger(TimeSpan.FromSeconds(30), time, Metrics.NewCustomRegistry());
        ledger.Observe(new EngineLoad(0, 0.5, 0, 0));
        Assert.Equal(0, ledger.Pending); // nothing was ever handed over
        ledger.Add();
        ledger.Add();
        time.Advance(TimeSpan.FromSeconds(40));
        Assert.Equal(1, ledger.Pending); // the decode side renewed a lease
        ledger.Observe(new EngineLoad(0, 0.5, 1, 0));
        Assert.Equal(0, ledger.Pending); // what is in use may belong to the running request
        ledger.Observe(new EngineLoad(0, 0.5, 0, 0));
        Assert.Equal(1, ledger.Pending);
        ledger.Observe(new EngineLoad(0, 0, 0, 0));
        Assert.Equal(0, ledger.Pending);
    }

    [Fact]
    public async Task Prefill_makes_one_choice_whatever_the_client_wants()
    {
        var run = Start(new PrefillHandler(_engine, Options, null, KvConnectorProtocols.Resolve(_engine.Description), null),
            """{"token_ids":[1,2,3],"sampling_options":{"n":3}}""", out _);
        _engine.Streams[0].Push([7], FinishReason.Length, isLast: true, more: output => output.KvTransferParamsJson = "{}"u8.ToArray());
        await run;
        Assert.Null(_engine.Requests[0].Options.SamplingOptions.N);
        Assert.Single(_responses.Items);
    }

    [Fact]
    public async Task Blocks_that_a_caller_left_behind_are_counted_and_aborted_ones_are_not()
    {
        var ledger = new HandOverLedger(TimeSpan.FromSeconds(30), new FakeTimeProvider(), Metrics.NewCustomRegistry());
        var handler = new PrefillHandler(_engine, Options, null, KvConnectorProtocols.Resolve(_engine.Description), ledger);
        var aborted = Start(handler, Request, out var first);
        first.Cancel(CancellationCause.Disconnect); // the abort wins
        await aborted;
        Assert.Equal(0, ledger.Pending);

        var finished = Start(handler, Request, out var second);
        _engine.Streams[1].Push([7], FinishReason.Length, isLast: true, more: output => output.KvTransferParamsJson = "{}"u8.ToArray());
        second.Cancel(CancellationCause.Disconnect); // the engine had finished
        await finished;
        Assert.Equal(1, ledger.Pending);
    }

    [Fact]
    public void One_idle_rank_does_not_free_the_blocks_of_another()
    {
        var ledger = new HandOverLedger(TimeSpan.FromSeconds(30), new FakeTimeProvider(), Metrics.NewCustomRegistry(), ranks: 2);
        ledger.Add();
        ledger.Observe(new EngineLoad(1, 0, 0, 0));
        Assert.Equal(1, ledger.Pending);
        ledger.Observe(new EngineLoad(0, 0.1, 0, 0));
        ledger.Observe(new EngineLoad(1, 0, 0, 0));
        Assert.Equal(1, ledger.Pending);
        ledger.Observe(new EngineLoad(0, 0, 0, 0));
        Assert.Equal(0, ledger.Pending);
    }

    [Fact]
    public async Task A_failed_prefill_hands_nothing_over()
    {
        var engine = _engine.Description with { KvConnector = "LMCacheMPConnector" };
        var run = Start(new PrefillHandler(_engine, Options, null, KvConnectorProtocols.Resolve(engine), null), Request, out _);
        _engine.Streams[0].Push([], FinishReason.Error, isLast: true);
        await Assert.ThrowsAsync<RequestFailedException>(() => run);
        Assert.Empty(_responses.Items);
    }

    [Theory]
    [InlineData("LMCacheMPConnector", null, "{}")]
    [InlineData("PdConnector", """{"connectors":[{"kv_connector":"LMCacheMPConnector"},{"kv_connector":"NixlConnector"}]}""", "do_remote_decode")]
    [InlineData("MultiConnector", """{"connectors":[{"kv_connector":"Other"},{"kv_connector":"LMCacheMPConnector"}]}""", "{}")]
    public void Wrappers_delegate_to_the_child_that_moves_blocks(string connector, string? extra, string expected)
    {
        var engine = _engine.Description with { KvConnector = connector, KvConnectorExtraConfig = extra is null ? null : JsonNode.Parse(extra)!.AsObject() };
        Assert.Contains(expected, Encoding.UTF8.GetString(KvConnectorProtocols.Resolve(engine).Begin().EngineParamsJson.Span), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("ExampleConnector", null, "Unsupported kv_connector='ExampleConnector'")]
    [InlineData("MultiConnector", """{"connectors":[]}""", "no PD-capable sub-connector")]
    [InlineData("MultiConnector", """{"connectors":[{"kv_connector":"NixlConnector"},{"kv_connector":"NeuronNixlConnector"}]}""", "multiple PD-capable")]
    public void A_connector_that_cannot_hand_over_refuses_each_request(string connector, string? extra, string message)
    {
        var engine = _engine.Description with { KvConnector = connector, KvConnectorExtraConfig = extra is null ? null : JsonNode.Parse(extra)!.AsObject() };
        var failure = Assert.Throws<RequestFailedException>(() => KvConnectorProtocols.Resolve(engine).Begin());
        Assert.Contains(message, failure.Error.Message, StringComparison.Ordinal);
    }

    private Task Start(GenerateHandler handler, string body, out RequestContext context)
    {
        context = Context(body);
        return handler.HandleAsync(context, _responses);
    }

    private static RequestContext Context(string body) => new("r1", PayloadCodec.Json, Encoding.UTF8.GetBytes(body), new Dictionary<string, string>());
}
