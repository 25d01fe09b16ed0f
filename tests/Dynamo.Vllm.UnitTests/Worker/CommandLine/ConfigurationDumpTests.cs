using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.CommandLine;
using Xunit;

namespace Dynamo.Vllm.UnitTests.Worker.CommandLine;

public sealed class ConfigurationDumpTests
{
    private static readonly ConfigurationDumpFacts Facts = new()
    {
        CommandLine = ["dynamo-vllm", "--hf-token", "hf_x", "--api-key=k", "--max-num-batched-tokens", "5"],
        System = new JsonObject { ["os_name"] = "Linux", ["hostname"] = "h\u00f6st" },
        Python = new JsonObject { ["python_version"] = "3.12" },
        InstalledPackages = new JsonObject { ["vllm"] = "0.31.0" },
        VllmVersion = "0.31.0",
    };

    [Fact]
    public void The_dump_has_the_members_of_the_reference_in_order_and_without_blanks()
    {
        var text = Render();
        var dump = Parse(text);

        Assert.Equal(
            ["config", "dynamo_version", "environment", "gpu_info", "installed_packages", "runtime_info", "system_info", "vllm_version"],
            dump.Select(member => member.Key));
        Assert.Contains("""
            "system_info":{"hostname":"h
            """ + "\u00f6st\",\"os_name\":\"Linux\"}", text, StringComparison.Ordinal);
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
        var engine = new EngineArgumentValues(new JsonObject { ["model"] = "m", ["hf_token"] = "hf_z", ["max_num_batched_tokens"] = 5 });
        var resolver = new ConfigurationResolver(environment, new NixlHostProbe(), _ => false);
        var resolved = resolver.Resolve(CommandLineSample.Parse(environment), engine);

        var text = ConfigurationDump.Render(resolved, environment, Facts);
        var dump = Parse(text);

        Assert.Equal("""{"DYN_LOG":"debug","HF_TOKEN":"<REDACTED>"}""", Unescaped(dump["environment"]!));
        Assert.Equal("<REDACTED>", (string?)dump["config"]!["engine_args"]!["hf_token"]);
        Assert.Equal(5, (int)dump["config"]!["engine_args"]!["max_num_batched_tokens"]!);
        Assert.Equal(
            """["dynamo-vllm","--hf-token","<REDACTED>","--api-key=<REDACTED>","--max-num-batched-tokens","5"]""",
            Unescaped(dump["runtime_info"]!["command_line_args"]!));
        Assert.DoesNotContain("hf_", text.Replace("hf_token", "", StringComparison.Ordinal), StringComparison.Ordinal);
    }

    [Fact]
    public void A_dump_that_cannot_be_written_says_why_instead_of_throwing() =>
        Assert.NotNull(ConfigurationDump.TryWrite("/proc/no/such/place.json", "{}"));

    private static string Render(params string[] arguments) =>
        ConfigurationDump.Render(ResolverSample.Resolve(arguments), CommandLineSample.NoEnvironment, Facts);

    private static JsonObject Parse(string text) => JsonNode.Parse(text)!.AsObject();

    private static string Unescaped(JsonNode node) => node.ToJsonString()
        .Replace("\\u003C", "<", StringComparison.Ordinal).Replace("\\u003E", ">", StringComparison.Ordinal);
}
