using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Models.Cards;
using Xunit;

namespace Dynamo.Vllm.UnitTests.Worker.Configuration;

/// <remarks>Expected texts were captured from cards that register_model 1.6.1 wrote with file discovery.</remarks>
public sealed class RouterConfigJsonTests
{
    private const string DefaultSettings =
        """{"overlap_score_credit":1.0,"overlap_score_credit_decay":0.0,"prefill_load_scale":1.0,"host_cache_hit_weight":0.75,"disk_cache_hit_weight":0.25,"router_temperature":0.0,"use_kv_events":true,"router_replica_sync":false,"router_track_active_blocks":true,"router_track_output_blocks":false,"router_assume_kv_reuse":true,"router_track_prefill_tokens":true,"router_prefill_load_model":"none","router_ttl_secs":120.0,"router_queue_threshold":null,"router_policy_config":null,"router_event_threads":4,"skip_initial_worker_wait":false,"router_queue_policy":"fcfs","use_remote_indexer":false,"serve_indexer":false,"shared_cache_type":"none","router_predicted_ttl_secs":null}""";

    private const string Tail =
        ""","load_threshold_config":{},"enforce_disagg":false,"session_affinity_ttl_secs":null,"session_affinity_mode":"hard"}""";

    private const string Full =
        """{"router_mode":"k_v","kv_router_config":{"overlap_score_credit":0.5,"overlap_score_credit_decay":0.25,"prefill_load_scale":2.0,"decode_active_request_weight":1.25,"host_cache_hit_weight":0.5,"disk_cache_hit_weight":0.125,"router_temperature":0.5,"use_kv_events":true,"router_replica_sync":true,"router_track_active_blocks":true,"router_track_output_blocks":true,"router_assume_kv_reuse":false,"router_track_prefill_tokens":false,"router_prefill_load_model":"none","router_ttl_secs":60.0,"router_queue_threshold":1.5,"router_policy_config":null,"router_event_threads":8,"skip_initial_worker_wait":false,"router_queue_policy":"wspt","use_remote_indexer":false,"serve_indexer":false,"enable_session_prefix_index":true,"shared_cache_multiplier":0.5,"shared_cache_type":"hicache","router_predicted_ttl_secs":null},"load_threshold_config":{"active_decode_blocks_threshold":0.5,"active_prefill_tokens_threshold":100,"active_prefill_tokens_threshold_frac":0.25},"enforce_disagg":false,"session_affinity_ttl_secs":60,"session_affinity_mode":"soft"}""";

    [Fact]
    public void Without_a_mode_the_card_has_no_router_configuration() => Assert.Null(Build(""));

    [Theory]
    [InlineData("round-robin", "round_robin")]
    [InlineData("random", "random")]
    [InlineData("power-of-two", "power_of_two_choices")]
    [InlineData("kv", "k_v")]
    [InlineData("direct", "direct")]
    [InlineData("least-loaded", "least_loaded")]
    [InlineData("device-aware-weighted", "device_aware_weighted")]
    public void Every_mode_has_its_name_on_the_card_and_carries_the_kv_settings(string mode, string name) =>
        Assert.Equal($$"""{"router_mode":"{{name}}","kv_router_config":""" + DefaultSettings + Tail, Build("--router-mode " + mode));

    [Fact]
    public void All_settings_reach_the_card() =>
        Assert.Equal(
            Full,
            Build(
                "--router-mode kv --kv-overlap-score-weight 2 --router-prefill-load-scale 9 --router-host-cache-hit-weight .5 "
                    + "--router-disk-cache-hit-weight 0.125 --router-temperature 0.5 --router-replica-sync --track-output-blocks "
                    + "--no-assume-kv-reuse --no-router-track-prefill-tokens --router-ttl-secs 60 --router-queue-threshold 1.5 "
                    + "--router-event-threads 8 "
                    + "--router-queue-policy wspt --enable-session-prefix-index --shared-cache-multiplier 0.5 --shared-cache-type hicache "
                    + "--router-kv-overlap-score-credit 0.5 --router-kv-overlap-score-credit-decay 0.25 "
                    + "--router-decode-active-request-weight 1.25 "
                    + "--router-prefill-policy pp --router-decode-policy dd --active-decode-blocks-threshold 0.5 "
                    + "--active-prefill-tokens-threshold 100 "
                    + "--active-prefill-tokens-threshold-frac 0.25 --router-session-affinity-ttl-secs 60 "
                    + "--router-session-affinity-mode soft"
            )
        );

    [Fact]
    public void Settings_of_the_kv_mode_are_ignored_in_other_modes() =>
        Assert.Contains(
            DefaultSettings,
            Build("--router-mode random --router-temperature 0.5 --router-kv-overlap-score-credit -1"),
            StringComparison.Ordinal
        );

    [Fact]
    public void The_load_aware_preset_asks_for_no_cached_prefixes() =>
        AssertKv(
            DefaultSettings
                .Replace("score_credit\":1.0", "score_credit\":0.0", StringComparison.Ordinal)
                .Replace("use_kv_events\":true", "use_kv_events\":false", StringComparison.Ordinal)
                .Replace("assume_kv_reuse\":true", "assume_kv_reuse\":false", StringComparison.Ordinal)
                .Replace("\"shared_cache_type", "\"shared_cache_multiplier\":0.0,\"shared_cache_type", StringComparison.Ordinal),
            "--load-aware"
        );

    [Fact]
    public void The_load_model_keeps_its_old_name_on_the_wire() =>
        AssertKv(
            DefaultSettings.Replace("load_model\":\"none", "load_model\":\"aic", StringComparison.Ordinal),
            "--router-prefill-load-model ais"
        );

    [Fact]
    public void A_tracking_key_stands_before_the_load_model() =>
        AssertKv(
            DefaultSettings.Replace(
                "\"router_prefill_load_model",
                """
                "router_tracking_hash":"keyed-xxh3-v1","router_tracking_key_file":"/tmp/keyf","router_tracking_key_id":"k1","router_prefill_load_model
                """,
                StringComparison.Ordinal
            ),
            "--router-tracking-hash keyed-xxh3-v1 --router-tracking-key-file /tmp/keyf --router-tracking-key-id k1"
        );

    [Fact]
    public void Conditional_disaggregation_adds_only_what_differs_from_its_defaults()
    {
        AssertKv(DefaultSettings[..^1] + ""","conditional_disagg_enabled":true}""", "--router-conditional-disagg");
        AssertKv(
            DefaultSettings[..^1]
                + ""","conditional_disagg_enabled":true,"conditional_disagg_policy":"isl_or_load","conditional_disagg_eff_isl_threshold":1024,"conditional_disagg_eff_isl_ratio_threshold":0.5,"conditional_disagg_prefill_busy_threshold":0.9,"conditional_disagg_decode_busy_threshold":0.8}""",
            "--router-conditional-disagg --router-conditional-disagg-config "
                + """{"policy":"isl_or_load","eff_isl_threshold":1024,"eff_isl_ratio_threshold":0.5,"prefill_busy_threshold":0.9,"decode_busy_threshold":0.8}"""
        );
    }

    [Theory]
    [InlineData("--router-temperature -1", "router_temperature must be finite and non-negative")]
    [InlineData("--router-host-cache-hit-weight 1.5", "host_cache_hit_weight must be between 0 and 1")]
    [InlineData("--router-event-threads 0", "router_event_threads must be at least 1")]
    [InlineData("--router-approximate-cache-policy lru", "router_approximate_cache_policy=lru requires use_kv_events=false")]
    [InlineData("--router-tracking-key-id k", "router tracking key options require router_tracking_hash=keyed-xxh3-v1")]
    [InlineData("--track-output-blocks --no-track-active-blocks", "router_track_output_blocks requires router_track_active_blocks=true")]
    [InlineData("--router-session-affinity-ttl-secs 0", "session_affinity_ttl_secs must be between 1 and 31536000")]
    [InlineData("--active-decode-blocks-threshold 2", "active_decode_blocks_threshold must be between 0.0 and 1.0, got 2.0")]
    [InlineData("--router-conditional-disagg-config {}", "--router-conditional-disagg-config requires --router-conditional-disagg")]
    [InlineData(
        """--router-conditional-disagg --router-conditional-disagg-config {"policy":"prefill_load"}""",
        "needs prefill_busy_threshold"
    )]
    public void A_value_outside_its_limit_is_refused_by_name(string flags, string expected)
    {
        var error = Assert.Throws<ConfigurationException>(() => Build("--router-mode kv " + flags));
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }

    /// <summary>Each line of the file is what the official package made of a policy file: the card's object, or its refusal.</summary>
    [Fact]
    public void Policy_files_make_the_official_card_or_the_official_refusal()
    {
        using var folder = new TemporaryFolder();
        var cases = Golden.Text("worker/router-policies.jsonl").Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.True(cases.Length > 25);
        foreach (var line in cases)
        {
            var captured = JsonNode.Parse(line)!;
            var path = folder.Write("policy.yaml", captured["policy"]!.GetValue<string>());
            string[] flags = [.. captured["flags"]!.AsArray().Select(flag => flag!.GetValue<string>()), "--router-policy-config", path];
            Assert.Equal(
                captured["router_config"]?.ToJsonString() ?? captured["error"]!.GetValue<string>(),
                CardOrRefusal(flags).Replace(path, "policy.yaml", StringComparison.Ordinal)
            );
        }
    }

    [Theory]
    [InlineData("router: {a", "is not YAML: ")]
    [InlineData("router: {router_ttl_secs: [1]}", "Expected `float`, got `object`")]
    public void A_policy_file_that_cannot_be_read_is_named(string text, string expected)
    {
        using var folder = new TemporaryFolder();
        var path = folder.Write("policy.yaml", text);
        Assert.Contains(expected, CardOrRefusal(["--router-mode", "kv", "--router-policy-config", path]), StringComparison.Ordinal);
        var deep = folder.Write("deep.yaml", "models: " + new string('[', 10_000));
        Assert.Contains("is not YAML", CardOrRefusal(["--router-mode", "kv", "--router-policy-config", deep]), StringComparison.Ordinal);
        var missing = Path.Combine(folder.Path, "missing.yaml");
        Assert.Contains("cannot read", CardOrRefusal(["--router-mode", "kv", "--router-policy-config", missing]), StringComparison.Ordinal);
    }

    [Fact]
    public void A_mode_from_the_environment_is_checked_here()
    {
        var arguments = CommandLineSample.Parse(CommandLineSample.Environment("DYN_ROUTER_MODE", "bogus"));

        var error = Assert.Throws<ConfigurationException>(() => RouterConfigJson.Build(arguments.Options));
        Assert.Equal(
            "unknown router mode 'bogus'; expected one of device-aware-weighted, direct, kv, least-loaded, power-of-two, random, "
                + "round-robin",
            error.Message
        );
    }

    private static void AssertKv(string settings, string flags) =>
        Assert.Equal("""{"router_mode":"k_v","kv_router_config":""" + settings + Tail, Build("--router-mode kv " + flags));

    private static string CardOrRefusal(string[] flags)
    {
        try
        {
            return RouterConfigJson.Build(CommandLineSample.Parse(flags).Options)!.ToJsonString();
        }
        catch (ConfigurationException exception)
        {
            return exception.Message;
        }
    }

    private static string? Build(string flags) =>
        RouterConfigJson.Build(CommandLineSample.Parse(flags.Split(' ', StringSplitOptions.RemoveEmptyEntries)).Options)?.ToJsonString();
}
