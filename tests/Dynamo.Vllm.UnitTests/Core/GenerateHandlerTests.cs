using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Disaggregation;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Generate;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Testing;
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
            _responses.Items.Select(item => item.ToJsonString())
        );
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
    public async Task An_engine_that_ends_a_request_by_itself_ends_it_with_the_migratable_error()
    {
        var run = Start(new AggregatedHandler(_engine, Options, null, null), Request, out _);
        _engine.Streams[0].Push([960]);
        _engine.Streams[0].Push([], FinishReason.Abort, isLast: true);
        var error = (await Assert.ThrowsAsync<RequestFailedException>(() => run)).Error;
        Assert.Equal("backend.engine_shutdown", error.Reason);
        Assert.Single(_responses.Items);
    }

    [Theory]
    [InlineData(0, 1)] // three choices, each with its end
    [InlineData(2, 9)]
    public async Task Choices_of_a_request_in_vLLM_s_own_form_are_those_of_its_envelope(int last, int tokens)
    {
        const string body = """{"token_ids":[1,2,3],"extra_args":{"vllm_tito":{"sampling_params":{"n":3}}}}""";
        var run = Start(new AggregatedHandler(_engine, Options, null, null), body, out _);
        _engine.Streams[0].Push([tokens], FinishReason.Stop, isLast: true, index: last);
        await run;
        Assert.Equal(last, Assert.Single(_responses.Items)["index"]!.GetValue<int>());
        Assert.Null(_responses.Items[0]["engine_data"]);
    }

    [Theory]
    [InlineData("""{"n":9}""", "sampling_params.n must be at most the server's max_num_seqs (8), got 9.")]
    [InlineData(
        """{"routed_experts_prompt_start":3}""",
        "sampling_params.routed_experts_prompt_start must be smaller than the prompt token count, which is 3"
    )]
    public async Task What_is_too_much_in_vLLM_s_own_form_never_reaches_the_engine(string parameters, string problem)
    {
        var body = """{"token_ids":[1,2,3],"extra_args":{"vllm_tito":{"sampling_params":""" + parameters + "}}}";
        var exception = await Assert.ThrowsAsync<ProtocolException>(() =>
            Start(new AggregatedHandler(_engine, Options, null, null), body, out _)
        );
        Assert.Equal(problem, exception.Message);
        Assert.Empty(_engine.Requests);
    }

    [Fact]
    public async Task A_schema_that_refers_to_itself_is_refused_in_vLLM_s_own_form_too()
    {
        const string body =
            """{"token_ids":[1],"extra_args":{"vllm_tito":{"sampling_params":{"structured_outputs":{"json":{"$ref":"#"}}}}}}""";
        var error = (
            await Assert.ThrowsAsync<RequestFailedException>(() => Start(new AggregatedHandler(_engine, Options, null, null), body, out _))
        ).Error;
        Assert.Equal("request.invalid", error.Reason);
    }

    [Fact]
    public async Task A_request_for_an_adapter_uses_it_until_its_end_and_one_for_the_base_model_none()
    {
        var adapters = new AdapterTable(new AdapterLimits());
        using (var load = await adapters.BeginChangeAsync("ad", default))
        {
            load.Set(new LoadedAdapter("ad", 7, "/ad"));
        }

        var handler = new AggregatedHandler(_engine, Options with { LoraEnabled = true }, adapters, null);
        var run = Start(handler, """{"model":"ad","token_ids":[1,2,3]}""", out _);
        Assert.Equal(new LoadedAdapter("ad", 7, "/ad"), _engine.Requests[0].Adapter);
        var change = await adapters.BeginChangeAsync("ad", default);
        var idle = change.WhenIdleAsync(default);
        Assert.False(idle.IsCompleted);
        var late = Start(handler, """{"model":"ad","token_ids":[1,2,3]}""", out _);
        _engine.Streams[0].Push([1], FinishReason.Stop, isLast: true);
        await run;
        await idle;
        change.Set(null);
        change.Dispose();
        Assert.Equal(
            "ValueError: unknown model or LoRA adapter: 'ad'",
            (await Assert.ThrowsAsync<RequestFailedException>(() => late)).Error.Message
        );
        await Assert.ThrowsAsync<RequestFailedException>(() => Start(handler, """{"model":"nope","token_ids":[1]}""", out _));
        foreach (
            var body in (string[])["""{"model":"tiny","token_ids":[1]}""", """{"model":"","token_ids":[1]}""", """{"token_ids":[1]}"""]
        )
        {
            run = Start(handler, body, out _);
            _engine.Streams[^1].Push([1], FinishReason.Stop, isLast: true);
            await run;
            Assert.Null(_engine.Requests[^1].Adapter);
        }
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
        Assert.Equal(
            """{"remote_block_ids":[[4,5]],"remote_port":null}""",
            Encoding.UTF8.GetString(_engine.Requests[0].KvTransferParamsJson!.Value.Span)
        );
        Assert.Equal(
            """{"audio_tokens":null,"cached_tokens":2}""",
            _responses.Items[0]["completion_usage"]!["prompt_tokens_details"]!.ToJsonString()
        );
        Assert.Null(_responses.Items[0]["engine_data"]);
    }

    [Fact]
    public async Task Usage_of_several_choices_is_the_same_whichever_ends_last()
    {
        foreach (var last in (int[])[0, 1])
        {
            _responses.Items.Clear();
            var run = Start(
                new AggregatedHandler(_engine, Options, null, null),
                """{"token_ids":[1,2,3],"sampling_options":{"n":2}}""",
                out _
            );
            var stream = _engine.Streams[^1];
            stream.Push([1], index: 0, cached: 0);
            stream.Push([2], index: 1, cached: 2); // finds what the first has just cached
            stream.Push([3], index: 0, cached: 0);
            stream.Push([4], FinishReason.Length, index: 1 - last, cached: 2 * (1 - last));
            stream.Push([5], FinishReason.Length, isLast: true, index: last, cached: 2 * last);
            await run;
            Assert.Equal([true, true, false, true, true], _responses.Items.Select(item => item.ContainsKey("completion_usage")));
            Assert.Equal(
                """{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8,"prompt_tokens_details":{"cached_tokens":0}}""",
                _responses.Items[^1]["completion_usage"]!.ToJsonString()
            );
        }
    }

    [Fact]
    public async Task An_external_encoder_result_ends_a_decode_request_with_the_reference_s_item()
    {
        await Start(new DecodeHandler(_engine, Options, null, null), """{"token_ids":[1],"encoder_result":{"x":1}}""", out _);
        Assert.Equal(
            """{"index":0,"token_ids":[],"finish_reason":"error: external encoder results currently require an aggregated vLLM worker"}""",
            Assert.Single(_responses.Items).ToJsonString()
        );
        Assert.Empty(_engine.Streams);
    }

    [Fact]
    public async Task An_external_encoder_result_is_refused_where_it_would_be_used_and_left_alone_where_not()
    {
        const string bypassed = """{"token_ids":[1],"encoder_result":{"x":1},"annotations":["x-bypass-remote-prefill"]}""";
        var failure = await Assert.ThrowsAsync<RequestFailedException>(() =>
            Start(new DecodeHandler(_engine, Options, null, null), bypassed, out _)
        );
        Assert.Equal("RuntimeError: text-only CustomEncoder output requires --enable-prompt-embeds", failure.Error.Message);
        var withEmbeds = Options with { EnablePromptEmbeds = true };
        failure = await Assert.ThrowsAsync<RequestFailedException>(() =>
            Start(new AggregatedHandler(_engine, withEmbeds, null, null), bypassed, out _)
        );
        Assert.Equal("backend.invalid_argument", failure.Error.Reason);
        Assert.Empty(_engine.Streams);
        var prefill = Start(
            new PrefillHandler(_engine, Options, null, KvConnectorProtocols.Resolve(_engine.Description, new CountedIds()), null),
            bypassed,
            out _
        );
        _engine.Streams[0].Push([7], FinishReason.Length, isLast: true);
        await prefill;
    }

    [Fact]
    public async Task Transfer_parameters_reach_the_engine_in_either_role()
    {
        var run = Start(new AggregatedHandler(_engine, Options, null, null), DecodeRequest, out _);
        _engine.Streams[0].Push([1], FinishReason.Stop, isLast: true);
        await run;
        Assert.NotNull(_engine.Requests[0].KvTransferParamsJson);
        Assert.Null(_responses.Items[0]["engine_data"]);
    }

    [Theory]
    [InlineData(101, "at least 101")]
    [InlineData(500, "500")]
    public async Task A_prompt_above_the_limit_is_refused_in_the_words_of_vllm(int tokens, string counted)
    {
        var body = $"{{\"token_ids\":[{string.Join(',', Enumerable.Repeat(7, tokens))}]}}";
        var failure = await Assert.ThrowsAsync<RequestFailedException>(() =>
            Start(new AggregatedHandler(_engine, Options, null, null), body, out _)
        );
        Assert.Equal("request.invalid", failure.Error.Reason);
        Assert.Equal(
            $"This model's maximum context length is 100 tokens. However, you requested 0 output tokens and your prompt contains "
                + $"{counted} input tokens, "
                + $"for a total of {counted} tokens. Please reduce the length of the input prompt or the number of requested output "
                + $"tokens. (parameter=input_tokens, value={tokens})",
            JsonNode.Parse(failure.Error.Message)!["message"]!.GetValue<string>()
        );
    }

    [Theory]
    [InlineData("stop_conditions", "stop_token_ids")]
    [InlineData("stop_conditions", "stop_token_ids_hidden")]
    [InlineData("sampling_options", "allowed_token_ids")]
    [InlineData("sampling_options", "logprob_token_ids")]
    public async Task A_list_longer_than_the_vocabulary_is_refused_before_the_engine_sees_it(string group, string field)
    {
        var engine = new ScriptedEngine { Description = _engine.Description with { VocabularySize = 50 } };
        var body = $"{{\"token_ids\":[1],\"{group}\":{{\"{field}\":[{string.Join(',', Enumerable.Range(0, 51))}]}}}}";
        var failure = await Assert.ThrowsAsync<ProtocolException>(() =>
            Start(new AggregatedHandler(engine, Options, null, null), body, out _)
        );
        Assert.Equal($"{group}.{field} holds 51 token ids, above the limit 50, the size of the vocabulary", failure.Message);
        Assert.Empty(engine.Requests);
    }

    [Fact]
    public async Task More_words_to_avoid_than_the_vocabulary_has_are_refused()
    {
        var engine = new ScriptedEngine { Description = _engine.Description with { VocabularySize = 5 } };
        var body = """{"token_ids":[1],"sampling_options":{"bad_words_token_ids":[[1,2,3],[1,2,3]]}}""";
        var failure = await Assert.ThrowsAsync<ProtocolException>(() =>
            Start(new AggregatedHandler(engine, Options, null, null), body, out _)
        );
        Assert.Equal(
            "sampling_options.bad_words_token_ids holds 6 token ids, above the limit 5, the size of the vocabulary",
            failure.Message
        );
    }

    [Fact]
    public async Task A_constraint_of_more_than_a_mebibyte_is_refused()
    {
        var choice = new string('a', Limits.GuidedDecodingBytesMax + 1);
        var body = $"{{\"token_ids\":[1],\"sampling_options\":{{\"guided_decoding\":{{\"choice\":[\"{choice}\"]}}}}}}";
        var failure = await Assert.ThrowsAsync<ProtocolException>(() =>
            Start(new AggregatedHandler(_engine, Options, null, null), body, out _)
        );
        Assert.Equal("sampling_options.guided_decoding takes 1048577 bytes, above the limit 1048576", failure.Message);
    }

    [Fact]
    public async Task The_bypass_annotation_makes_a_decode_worker_aggregated()
    {
        var run = Start(
            new DecodeHandler(_engine, Options, null, null),
            """{"token_ids":[1],"annotations":["x-bypass-remote-prefill"]}""",
            out var context
        );
        context.Cancel(CancellationCause.Kill);
        await run;
        Assert.Equal(1, _engine.Streams[0].Aborts);
    }

    [Fact]
    public async Task Prefill_runs_one_token_and_hands_over_without_index_and_finish_reason()
    {
        var ledger = new HandOverLedger(TimeSpan.FromSeconds(30), new FakeTimeProvider(), Metrics.NewCustomRegistry());
        var handler = new PrefillHandler(
            _engine,
            Options,
            null,
            KvConnectorProtocols.Resolve(_engine.Description, new CountedIds()),
            ledger
        );
        var run = Start(handler, """{"token_ids":[1,2,3],"stop_conditions":{"max_tokens":50,"min_tokens":9}}""", out _);
        _engine
            .Streams[0]
            .Push(
                [7],
                FinishReason.Length,
                isLast: true,
                more: output => output.KvTransferParamsJson = """{"remote_block_ids":[[1]]}"""u8.ToArray()
            );
        await run;
        Assert.Equal(1, _engine.Requests[0].MaxTokens);
        Assert.Equal(1, _engine.Requests[0].MinTokens);
        Assert.Contains(
            "\"do_remote_decode\":true",
            Encoding.UTF8.GetString(_engine.Requests[0].KvTransferParamsJson!.Value.Span),
            StringComparison.Ordinal
        );
        Assert.Equal(
            """{"token_ids":[7],"disaggregated_params":{"kv_transfer_params":{"remote_block_ids":[[1]]}},"completion_usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4,"prompt_tokens_details":{"cached_tokens":0}},"engine_data":{"kv_cache_hit":{"prompt_tokens":3,"reused_tokens":0}}}""",
            _responses.Items[0].ToJsonString()
        );
        Assert.Equal(1, ledger.Pending);
    }

    [Fact]
    public async Task A_probe_of_a_prefill_worker_hands_nothing_over()
    {
        var ledger = new HandOverLedger(TimeSpan.FromSeconds(30), new FakeTimeProvider(), Metrics.NewCustomRegistry());
        var handler = new PrefillHandler(
            _engine,
            Options,
            null,
            KvConnectorProtocols.Resolve(_engine.Description, new CountedIds()),
            ledger
        );
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
        var run = Start(
            new PrefillHandler(_engine, Options, null, KvConnectorProtocols.Resolve(_engine.Description, new CountedIds()), null),
            """{"token_ids":[1,2,3],"sampling_options":{"n":3}}""",
            out _
        );
        _engine.Streams[0].Push([7], FinishReason.Length, isLast: true, more: output => output.KvTransferParamsJson = "{}"u8.ToArray());
        await run;
        Assert.Null(_engine.Requests[0].Options.SamplingOptions.N);
        Assert.Single(_responses.Items);
    }

    [Fact]
    public async Task Blocks_that_a_caller_left_behind_are_counted_and_aborted_ones_are_not()
    {
        var ledger = new HandOverLedger(TimeSpan.FromSeconds(30), new FakeTimeProvider(), Metrics.NewCustomRegistry());
        var handler = new PrefillHandler(
            _engine,
            Options,
            null,
            KvConnectorProtocols.Resolve(_engine.Description, new CountedIds()),
            ledger
        );
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
        var run = Start(
            new PrefillHandler(_engine, Options, null, KvConnectorProtocols.Resolve(engine, new CountedIds()), null),
            Request,
            out _
        );
        _engine.Streams[0].Push([], FinishReason.Error, isLast: true);
        await Assert.ThrowsAsync<RequestFailedException>(() => run);
        Assert.Empty(_responses.Items);
    }

    [Theory]
    [InlineData("LMCacheMPConnector", null, "{}")]
    [InlineData(
        "PdConnector",
        """{"connectors":[{"kv_connector":"LMCacheMPConnector"},{"kv_connector":"NixlConnector"}]}""",
        "do_remote_decode"
    )]
    [InlineData("MultiConnector", """{"connectors":[{"kv_connector":"Other"},{"kv_connector":"LMCacheMPConnector"}]}""", "{}")]
    public void Wrappers_delegate_to_the_child_that_moves_blocks(string connector, string? extra, string expected)
    {
        var engine = _engine.Description with
        {
            KvConnector = connector,
            KvConnectorExtraConfig = extra is null ? null : JsonNode.Parse(extra)!.AsObject(),
        };
        Assert.Contains(
            expected,
            Encoding.UTF8.GetString(KvConnectorProtocols.Resolve(engine, new CountedIds()).Begin().EngineParamsJson.Span),
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData("ExampleConnector", null, "Unsupported kv_connector='ExampleConnector'")]
    [InlineData("MultiConnector", """{"connectors":[]}""", "no PD-capable sub-connector")]
    [InlineData(
        "MultiConnector",
        """{"connectors":[{"kv_connector":"NixlConnector"},{"kv_connector":"NeuronNixlConnector"}]}""",
        "multiple PD-capable"
    )]
    public void A_connector_that_cannot_hand_over_refuses_each_request(string connector, string? extra, string message)
    {
        var engine = _engine.Description with
        {
            KvConnector = connector,
            KvConnectorExtraConfig = extra is null ? null : JsonNode.Parse(extra)!.AsObject(),
        };
        var failure = Assert.Throws<RequestFailedException>(() => KvConnectorProtocols.Resolve(engine, new CountedIds()).Begin());
        Assert.Contains(message, failure.Error.Message, StringComparison.Ordinal);
    }

    private Task Start(GenerateHandler handler, string body, out RequestContext context)
    {
        context = Context(body);
        return handler.HandleAsync(context, _responses);
    }

    private static RequestContext Context(string body) =>
        new("r1", PayloadCodec.Json, Encoding.UTF8.GetBytes(body), new Dictionary<string, string>());
}
