using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;
using Dynamo.Vllm.Worker.Models.Cards;
using Xunit;

namespace Dynamo.Vllm.UnitTests.Worker.Configuration;

public sealed class CommandLineParserTests
{
    [Fact]
    public void Words_that_no_parser_of_ours_knows_go_to_vllm_verbatim_and_in_order()
    {
        var arguments = CommandLineSample.Parse(
            "--max_model_len",
            "1k",
            "--namespace",
            "x",
            "-tp",
            "2",
            "positional",
            "--router-mode",
            "kv",
            "--max-num-seqs=3",
            "-1"
        );

        Assert.Equal(["--max_model_len", "1k", "-tp", "2", "positional", "--max-num-seqs=3", "-1"], arguments.EngineArguments);
        Assert.Equal("x", arguments.Options.Get(RuntimeOptions.Namespace));
        Assert.Equal("kv", arguments.Options.Get(RouterOptions.RouterMode));
    }

    [Fact]
    public void Everything_after_two_hyphens_goes_to_vllm_with_the_hyphens()
    {
        var arguments = CommandLineSample.Parse("--connector", "--", "--namespace", "x");

        Assert.Equal(["--", "--namespace", "x"], arguments.EngineArguments);
        Assert.Equal("dynamo", arguments.Options.Get(RuntimeOptions.Namespace));
    }

    [Theory]
    [InlineData("--fpm")]
    [InlineData("--disagg")]
    [InlineData("--discovery_backend")]
    public void Options_of_the_worker_parser_are_taken_in_full_spelling_only(string flag) =>
        Assert.Equal([flag, "prefill"], CommandLineSample.Parse(flag, "prefill").EngineArguments);

    [Fact]
    public void Router_options_may_be_abbreviated_also_with_an_equals_sign()
    {
        var arguments = CommandLineSample.Parse("--router-temp=0.5", "--router-mode", "kv", "--no-kv-ev");

        Assert.Equal(0.5, arguments.Options.Get(RouterOptions.RouterTemperature));
        Assert.False(arguments.Options.Get(RouterOptions.UseKvEvents));
        Assert.Empty(arguments.EngineArguments);
    }

    [Fact]
    public void An_abbreviation_of_several_router_options_is_an_error_that_lists_them()
    {
        var error = Assert.Throws<UsageException>(() => CommandLineSample.Parse("--router-session", "5"));

        Assert.Equal(
            "ambiguous option: --router-session could match --router-session-affinity-ttl-secs, --router-session-affinity-mode",
            error.Message
        );
    }

    [Fact]
    public void A_value_may_be_a_negative_number_or_hold_a_blank_but_not_look_like_an_option()
    {
        Assert.Equal(-1, CommandLineSample.Parse("--benchmark-max-batch-size", "-1").Options.Get(VllmOptions.BenchmarkMaxBatchSize));
        Assert.Equal("-a b", CommandLineSample.Parse("--namespace", "-a b").Options.Get(RuntimeOptions.Namespace));
        var error = Assert.Throws<UsageException>(() => CommandLineSample.Parse("--namespace", "-a"));
        Assert.Equal("argument --namespace: expected one argument", error.Message);
    }

    [Fact]
    public void An_assigned_value_may_be_empty_or_look_like_an_option()
    {
        Assert.Equal(string.Empty, CommandLineSample.Parse("--namespace=").Options.Get(RuntimeOptions.Namespace));
        Assert.Equal("--x=y", CommandLineSample.Parse("--namespace=--x=y").Options.Get(RuntimeOptions.Namespace));
    }

    [Fact]
    public void A_pair_of_flags_takes_no_value()
    {
        Assert.True(CommandLineSample.Parse("--headless").Options.Get(VllmOptions.Headless));
        Assert.False(CommandLineSample.Parse("--headless", "--no-headless").Options.Get(VllmOptions.Headless));
        var error = Assert.Throws<UsageException>(() => CommandLineSample.Parse("--headless=true"));
        Assert.Equal("argument --headless/--no-headless: ignored explicit argument 'true'", error.Message);
    }

    [Fact]
    public void A_usage_error_ends_in_the_line_that_scripts_of_the_reference_look_for()
    {
        var error = Assert.Throws<UsageException>(() => CommandLineSample.Parse("--embedding-worker-processes", "abc"));

        Assert.StartsWith("usage: dynamo-vllm [-h] [--namespace NAMESPACE]", error.StandardError, StringComparison.Ordinal);
        Assert.EndsWith(
            "\ndynamo-vllm: error: argument --embedding-worker-processes: invalid int value: 'abc'\n",
            error.StandardError,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void An_option_with_an_old_name_names_both_in_its_errors()
    {
        Assert.Equal("chat", CommandLineSample.Parse("--dyn-endpoint-types", "chat").Options.Get(RuntimeOptions.EndpointTypes));
        var error = Assert.Throws<UsageException>(() => CommandLineSample.Parse("--endpoint-types"));
        Assert.Equal("argument --endpoint-types/--dyn-endpoint-types: expected one argument", error.Message);
    }

    [Fact]
    public void Help_and_version_win_over_what_follows_and_lose_to_an_error_in_front()
    {
        Assert.Equal(CommandLineRequest.ShowHelp, Request("--help", "--version", "--namespace"));
        Assert.Equal(CommandLineRequest.ShowVersion, Request("--bogus", "--version"));
        Assert.Equal(CommandLineRequest.ShowHelp, Request("-hh"));
        Assert.Throws<UsageException>(() => Request("--request-plane", "x", "--help"));
        var error = Assert.Throws<UsageException>(() => Request("-hhx"));
        Assert.Equal("argument -h/--help: ignored explicit argument 'x'", error.Message);
    }

    [Fact]
    public void Words_may_be_many_or_none()
    {
        Assert.Equal(
            ["nixl", "kvbm"],
            CommandLineSample.Parse("--connector", "nixl", "kvbm", "--headless").Options.Get(RuntimeOptions.Connector)
        );
        Assert.Empty(CommandLineSample.Parse("--connector").Options.Get(RuntimeOptions.Connector));
        Assert.Equal(["text"], CommandLineSample.Parse().Options.Get(RuntimeOptions.OutputModalities));
    }

    [Fact]
    public void Without_a_router_mode_there_is_no_advertisement_whatever_the_other_router_flags_say() =>
        Assert.Null(RouterConfigJson.Build(CommandLineSample.Parse("--no-kv-events", "--router-temperature", "1").Options));

    [Fact]
    public void Use_of_a_deprecated_router_option_is_reported_under_the_name_that_was_used()
    {
        var byFlag = CommandLineSample.Parse("--router-mode", "kv", "--router-temp", "1").Warnings;
        var byVariable = CommandLineSample.Parse(CommandLineSample.Environment("DYN_OVERLAP_SCORE_WEIGHT", "2")).Warnings;

        Assert.StartsWith(
            "--router-temperature is deprecated and will be removed in v1.7; use ",
            Assert.Single(byFlag),
            StringComparison.Ordinal
        );
        Assert.StartsWith("DYN_OVERLAP_SCORE_WEIGHT is deprecated", Assert.Single(byVariable), StringComparison.Ordinal);
    }

    [Fact]
    public void Own_options_have_flags_and_defaults()
    {
        var defaults = CommandLineSample.Parse().Host;
        var given = CommandLineSample
            .Parse(
                "--python",
                "/venv",
                "--simulated-engine",
                "--engine-drive",
                "stock",
                "--item-interval",
                "20",
                "--drain-timeout",
                "2.5",
                "--termination-grace-period",
                "90",
                "--live-is-ready",
                "--engine-stall-timeout",
                "0",
                "--engine-frozen-timeout",
                "5",
                "--engine-busy-timeout",
                "18"
            )
            .Host;

        Assert.Equal(new HostSettings(), defaults);
        Assert.Equal("/venv", given.Python);
        Assert.True(given.SimulatedEngine);
        Assert.Equal("stock", given.EngineDrive);
        Assert.Equal(TimeSpan.FromMilliseconds(20), given.ItemInterval);
        Assert.Equal(TimeSpan.FromSeconds(2.5), given.DrainTimeout);
        Assert.Equal(TimeSpan.FromSeconds(90), given.TerminationGracePeriod);
        Assert.True(given.LiveIsReady);
        Assert.True(given.Stalls.IsOff);
        Assert.Equal((5.0, 10.0), (given.Stalls.FrozenSuspect.TotalSeconds, given.Stalls.FrozenRelease.TotalSeconds));
        Assert.Equal((18.0, 56.0), (given.Stalls.BusySuspect.TotalSeconds, given.Stalls.BusyRelease.TotalSeconds));
    }

    [Fact]
    public void A_drive_that_there_is_none_of_is_refused_also_from_the_variable()
    {
        var error = Assert.Throws<ConfigurationException>(() =>
            CommandLineSample.Parse(CommandLineSample.Environment("DYN_VLLM_ENGINE_DRIVE", "fast"))
        );
        Assert.Equal("DYN_VLLM_ENGINE_DRIVE='fast': expected one of 'stock', 'collector', 'raw', 'direct'", error.Message);
    }

    [Theory]
    [InlineData("0")]
    [InlineData("-1")]
    [InlineData("65536")]
    public void An_own_port_is_one(string port)
    {
        Assert.Throws<UsageException>(() => CommandLineSample.Parse($"--grpc-port={port}"));
        var error = Assert.Throws<ConfigurationException>(() =>
            CommandLineSample.Parse(CommandLineSample.Environment("DYN_VLLM_GRPC_PORT", port))
        );
        Assert.Equal($"DYN_VLLM_GRPC_PORT: must be between 1 and 65535, got {port}", error.Message);
    }

    [Theory]
    [InlineData("-1")]
    [InlineData("nan")]
    [InlineData("1e9")]
    public void Own_time_limits_are_within_a_day(string seconds)
    {
        Assert.Throws<UsageException>(() => CommandLineSample.Parse($"--drain-timeout={seconds}"));
        var error = Assert.Throws<ConfigurationException>(() =>
            CommandLineSample.Parse(CommandLineSample.Environment("DYN_VLLM_DRAIN_TIMEOUT_SECS", seconds))
        );
        Assert.StartsWith("DYN_VLLM_DRAIN_TIMEOUT_SECS: must be between 0.0 and 86400.0, got ", error.Message, StringComparison.Ordinal);
    }

    private static CommandLineRequest Request(params string[] arguments) =>
        CommandLineParser.Parse(arguments, CommandLineSample.NoEnvironment).Request;
}
