using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Parsing;
using Xunit;

namespace Dynamo.Vllm.UnitTests.Worker.Configuration;

public sealed class ConfigurationResolverTests
{
    private const string NixlTransfer = """{"kv_connector":"NixlConnector","kv_role":"kv_both"}""";

    private const string PairTransfer =
        """{"kv_connector":"PdConnector","kv_connector_extra_config":{"connectors":[{"kv_connector":"DynamoConnector"},{"kv_connector":"NixlConnector"}]}}""";

    [Theory]
    [InlineData("agg", DisaggregationMode.Aggregated, "backend")]
    [InlineData("pd", DisaggregationMode.Aggregated, "backend")]
    [InlineData("decode", DisaggregationMode.Decode, "backend")]
    [InlineData("prefill", DisaggregationMode.Prefill, "prefill")]
    [InlineData("encode", DisaggregationMode.Encode, "encode")]
    public void The_mode_names_the_component(string word, DisaggregationMode mode, string component)
    {
        var resolved = ResolverSample.Resolve("--disaggregation-mode", word, "--kv-transfer-config", NixlTransfer);

        Assert.Equal((mode, component, "generate"), (resolved.Mode, resolved.Component, resolved.Endpoint));
    }

    [Fact]
    public void Without_a_served_name_the_model_string_is_the_name_for_vllm_too()
    {
        var resolved = ResolverSample.Resolve("--model", "/models/x");

        Assert.Equal(("/models/x", false), (resolved.ServedModelName, resolved.ServedModelNameGiven));
        Assert.Equal("/models/x", (string?)resolved.EngineOverrides["served_model_name"]);
    }

    [Fact]
    public void Served_names_are_split_on_commas_and_blanks_and_given_to_vllm_as_they_are()
    {
        var resolved = ResolverSample.Resolve("--served-model-name", "a, b\tc", ",d,,e");

        Assert.Equal("a", resolved.ServedModelName);
        Assert.Equal(["b", "c", "d", "e"], resolved.ServedModelAliases);
        Assert.DoesNotContain("served_model_name", resolved.EngineOverrides.Keys);
    }

    [Fact]
    public void Generation_workers_get_prefix_caching_unless_told_otherwise_and_pooling_workers_do_not()
    {
        Assert.True((bool)ResolverSample.Resolve().EngineOverrides["enable_prefix_caching"]!);
        Assert.False((bool)ResolverSample.Resolve("--classify-worker").EngineOverrides["enable_prefix_caching"]!);
        Assert.DoesNotContain("enable_prefix_caching", ResolverSample.Resolve("--no-enable-prefix-caching").EngineOverrides.Keys);
    }

    [Fact]
    public void Events_are_cleared_in_vllm_when_prefix_caching_is_off()
    {
        var resolved = ResolverSample.Resolve("--kv-events-config", """{"enable_kv_cache_events":true}""", "--no-enable-prefix-caching");

        Assert.False(resolved.UseKvEvents);
        Assert.Null(Assert.Contains("kv_events_config", resolved.EngineOverrides));
    }

    [Fact]
    public void Events_that_are_configured_but_not_enabled_are_worth_a_warning()
    {
        var resolved = ResolverSample.Resolve("--kv-events-config", "{}");

        Assert.False(resolved.UseKvEvents);
        Assert.DoesNotContain("kv_events_config", resolved.EngineOverrides.Keys);
        Assert.Contains("enable_kv_cache_events", Assert.Single(resolved.Warnings), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--disable-log-stats", "the load signal and the metrics need the statistics")]
    [InlineData("--enable-log-requests", "request logs would hold prompts")]
    [InlineData("--skip-tokenizer-init", "vLLM needs its tokenizer for stop strings")]
    public void A_flag_that_is_switched_off_again_is_worth_a_warning(string flag, string reason)
    {
        var resolved = ResolverSample.Resolve(flag);

        Assert.False(resolved.EngineOverrides[flag[2..].Replace('-', '_')]!.GetValue<bool>());
        Assert.Equal($"{flag} has no effect: {reason}", Assert.Single(resolved.Warnings));
    }

    [Theory]
    [InlineData(NixlTransfer, true)]
    [InlineData(PairTransfer, true)]
    [InlineData(
        """{"kv_connector":"MultiConnector","kv_connector_extra_config":{"connectors":[{"kv_connector":"NixlConnector"}]}}""",
        false
    )]
    [InlineData("""{"kv_connector":"MooncakeConnector"}""", false)]
    public void Nixl_alone_or_in_a_pair_needs_a_side_channel_host(string transfer, bool expected)
    {
        var resolved = ResolverSample.Resolve("--kv-transfer-config", transfer);

        Assert.Equal(expected, resolved.UsesNixl);
        Assert.Equal(
            expected ? ResolverSample.HostAddress : null,
            resolved.EnvironmentChanges.GetValueOrDefault("VLLM_NIXL_SIDE_CHANNEL_HOST")
        );
    }

    [Fact]
    public void A_side_channel_host_that_is_set_is_left_alone_and_an_empty_one_is_not()
    {
        var arguments = CommandLineSample.Parse("--kv-transfer-config", NixlTransfer);
        var set = ResolverSample.Resolve(CommandLineSample.Environment("VLLM_NIXL_SIDE_CHANNEL_HOST", "10.0.0.1"), arguments);
        var empty = ResolverSample.Resolve(CommandLineSample.Environment("VLLM_NIXL_SIDE_CHANNEL_HOST", ""), arguments);

        Assert.DoesNotContain("VLLM_NIXL_SIDE_CHANNEL_HOST", set.EnvironmentChanges.Keys);
        Assert.Equal(ResolverSample.HostAddress, empty.EnvironmentChanges["VLLM_NIXL_SIDE_CHANNEL_HOST"]);
    }

    [Fact]
    public void No_routable_address_is_an_error_that_names_the_variable()
    {
        var arguments = CommandLineSample.Parse("--kv-transfer-config", NixlTransfer);

        var error = Assert.Throws<ConfigurationException>(() =>
            ResolverSample.Resolve(CommandLineSample.NoEnvironment, arguments, address: null)
        );
        Assert.Contains("VLLM_NIXL_SIDE_CHANNEL_HOST", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_custom_template_is_expanded_before_it_is_looked_for()
    {
        var environment = new Dictionary<string, string> { ["HOME"] = "/home/u", ["T"] = "t" };
        var arguments = CommandLineSample.Parse("--custom-jinja-template", "~/$T/${T}.jinja$UNSET");

        var resolved = ResolverSample.Resolve(environment, arguments, files: "/home/u/t/t.jinja$UNSET");

        Assert.Equal("/home/u/t/t.jinja$UNSET", resolved.CustomJinjaTemplate);
    }

    [Theory]
    [InlineData("1024", 1024)]
    [InlineData("49151", 49151)]
    public void A_metrics_port_switches_metrics_on_and_injects_the_scheduler(string port, int expected)
    {
        var resolved = ResolverSample.Resolve(CommandLineSample.Environment("DYN_FORWARDPASS_METRIC_PORT", port));

        Assert.Equal((true, expected), (resolved.ForwardPassMetrics, resolved.ForwardPassMetricsPort));
        Assert.Contains("InstrumentedScheduler", (string)resolved.EngineOverrides["scheduler_cls"]!, StringComparison.Ordinal);
    }

    [Fact]
    public void A_trace_on_a_worker_that_relays_none_is_a_warning()
    {
        var resolved = ResolverSample.Resolve("--fpm-trace", "--headless");

        Assert.False(resolved.ForwardPassMetrics);
        Assert.Contains("vLLM headless workers do not create", Assert.Single(resolved.Warnings), StringComparison.Ordinal);
    }

    [Fact]
    public void Reinforcement_learning_asks_vllm_for_processed_logprobs()
    {
        Assert.Equal("processed_logprobs", (string?)ResolverSample.Resolve("--enable-rl").EngineOverrides["logprobs_mode"]);
        Assert.DoesNotContain(
            "logprobs_mode",
            ResolverSample.Resolve("--enable-rl", "--logprobs-mode", "processed_logprobs").EngineOverrides.Keys
        );
    }

    [Theory]
    [InlineData("--realtime", "--enforce-eager", "--realtime")]
    [InlineData("--load-format", "gms", "--load-format gms")]
    public void What_this_worker_cannot_serve_is_valid_but_listed(string first, string second, string flag) =>
        Assert.Contains(ResolverSample.Resolve(first, second).UnsupportedFeatures, feature => feature.Flag == flag);

    [Theory]
    [InlineData("--disaggregation-mode=encode --embedding-transfer-mode=nixl-read", "--embedding-transfer-mode nixl-read")]
    [InlineData("--route-to-encoder --embedding-transfer-mode=nixl-read", "--embedding-transfer-mode nixl-read")]
    [InlineData("--multimodal-embedding-cache-capacity-gb=1", "--multimodal-embedding-cache-capacity-gb")]
    public void Embeddings_are_neither_read_nor_kept_by_their_receiver(string flags, string flag) =>
        Assert.Equal([flag], ResolverSample.Resolve(flags.Split(' ')).UnsupportedFeatures.Select(feature => feature.Flag));

    [Fact]
    public void An_encode_worker_and_one_that_asks_it_are_known_by_their_flags()
    {
        var encoder = ResolverSample.Resolve("--disaggregation-mode=encode", "--multimodal-embedding-cache-capacity-gb=1");
        Assert.True(encoder is { IsEncodeWorker: true, HasOneEndpoint: true, RoutesToEncoder: false, Component: "encode" });
        Assert.Empty(encoder.UnsupportedFeatures);
        Assert.True(ResolverSample.Resolve("--route-to-encoder", "--enable-multimodal").RoutesToEncoder);
        Assert.False(ResolverSample.Resolve("--route-to-encoder").RoutesToEncoder);
    }

    [Fact]
    public void An_embedding_worker_is_served_by_one_process_without_prefix_cache_and_forward_pass_metrics()
    {
        var environment = CommandLineSample.Environment("DYN_FORWARDPASS_METRIC_PORT", "20380");
        var resolved = ResolverSample.Resolve(environment, "--embedding-worker", "--fpm-trace");
        Assert.True(resolved.IsEmbeddingWorker);
        Assert.Empty(resolved.UnsupportedFeatures);
        Assert.False((bool)resolved.EngineOverrides["enable_prefix_caching"]!);
        Assert.False(resolved.ForwardPassMetrics);
        Assert.DoesNotContain("scheduler_cls", resolved.EngineOverrides.Keys);
        Assert.Contains("DYN_FORWARDPASS_METRIC_PORT has no effect: pooling workers relay no forward-pass metrics", resolved.Warnings);

        var several = ResolverSample.Resolve("--embedding-worker", "--embedding-worker-processes", "2");
        Assert.Empty(several.UnsupportedFeatures);
        Assert.Single(
            several.Notes,
            note => note.StartsWith("--embedding-worker-processes 2: one process serves", StringComparison.Ordinal)
        );
        var many = Assert.Throws<ConfigurationException>(() =>
            ResolverSample.Resolve("--embedding-worker", "--embedding-worker-processes", "257")
        );
        Assert.Equal("--embedding-worker-processes is 257, the limit is 256.", many.Message);
        var given = ResolverSample.Resolve("--embedding-worker", "--enable-prefix-caching");
        Assert.True(given.EnablePrefixCaching);
    }

    [Fact]
    public void A_classify_worker_is_served_without_prefix_cache_and_forward_pass_metrics()
    {
        var environment = CommandLineSample.Environment("DYN_FORWARDPASS_METRIC_PORT", "20380");
        var resolved = ResolverSample.Resolve(environment, "--classify-worker", "--use-vllm-tokenizer");
        Assert.Equal((true, true, false), (resolved.IsClassifyWorker, resolved.IsPoolingWorker, resolved.TakesText));
        Assert.Empty(resolved.UnsupportedFeatures);
        Assert.False(resolved.ForwardPassMetrics);
    }

    [Fact]
    public void A_plain_worker_uses_nothing_unsupported_and_has_no_warnings()
    {
        var resolved = ResolverSample.Resolve();

        Assert.Empty(resolved.UnsupportedFeatures);
        Assert.Empty(resolved.Warnings);
    }

    [Fact]
    public void Embedding_processes_must_not_share_ports_with_other_listeners()
    {
        var environment = new Dictionary<string, string>
        {
            ["DYN_SYSTEM_PORT"] = "9089",
            ["NIXL_TELEMETRY_ENABLE"] = "y",
            ["NIXL_TELEMETRY_EXPORTER"] = "prometheus",
        };

        var error = Assert.Throws<ConfigurationException>(() =>
            ResolverSample.Resolve(environment, "--embedding-worker", "--embedding-worker-processes", "2")
        );
        Assert.Equal(
            "embedding worker port reservations overlap: DYN_SYSTEM_PORT reserves 9089-9090, while NIXL_TELEMETRY_PROMETHEUS_PORT "
                + "reserves 9090. Configure non-overlapping ports.",
            error.Message
        );
    }

    [Fact]
    public void An_old_granularity_maps_to_the_new_limit_with_a_warning()
    {
        var resolved = ResolverSample.Resolve("--benchmark-mode", "agg", "--benchmark-prefill-granularity", "1");

        Assert.EndsWith("maps to 2 so both axis endpoints are retained.", Assert.Single(resolved.Warnings), StringComparison.Ordinal);
        Assert.Equal(2, resolved.Benchmark!["prefill_max_new_token_samples"]!.GetValue<long>());
        Assert.Equal("agg", resolved.Benchmark["mode"]!.GetValue<string>());
        Assert.Null(ResolverSample.Resolve().Benchmark);
    }

    [Theory]
    [InlineData("""{"exclude_special_tokens":true,"scope":"auto"}""", "auto", true)]
    [InlineData("on", "always", null)]
    public void The_structural_tag_becomes_a_card_object_without_unset_fields(string value, string scope, bool? exclude)
    {
        var card = ResolverSample.Resolve("--dyn-structural-tag", value).StructuralTag!.ToCard();

        Assert.Equal(scope, (string?)card["scope"]);
        Assert.Equal(exclude is not null, card.ContainsKey("exclude_special_tokens"));
        Assert.Equal(exclude is null ? 5 : 6, card.Count);
    }

    [Theory]
    [InlineData("""{"scope":"x"}""", "Invalid enum value 'x' - at `$.scope`")]
    [InlineData("""{"scope":1}""", "Expected `str`, got `int` - at `$.scope`")]
    [InlineData("[]", "Expected `object`, got `array`")]
    [InlineData("null", "Expected `object`, got `null`")]
    [InlineData("""{"exclude_special_tokens":"a"}""", "Expected `bool | null`, got `str` - at `$.exclude_special_tokens`")]
    public void A_wrong_structural_tag_is_refused_in_the_words_of_the_reference(string value, string expected)
    {
        var error = Assert.Throws<UsageException>(() => CommandLineSample.Parse("--dyn-structural-tag", value));
        Assert.Equal("argument --dyn-structural-tag: " + expected, error.Message);
    }

    [Fact]
    public void Engine_values_of_another_type_than_expected_count_as_not_given()
    {
        var values = new EngineArgumentValues(
            new JsonObject
            {
                ["stream_interval"] = "x",
                ["model"] = 3,
                ["served_model_name"] = "a b",
            }
        );

        Assert.Equal(1, values.StreamInterval);
        Assert.Equal(EngineArgumentValues.DefaultModel, values.Model);
        Assert.Equal(["a b"], values.ServedModelName);
    }
}
