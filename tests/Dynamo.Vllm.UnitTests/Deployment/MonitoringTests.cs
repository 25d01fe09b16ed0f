using System.Text.Json;
using System.Text.RegularExpressions;
using Dynamo.Vllm.Testing;
using YamlDotNet.RepresentationModel;

namespace Dynamo.Vllm.UnitTests.Deployment;

/// <summary>What deploy/monitoring asks for exists, and each alert has its page.</summary>
/// <remarks>That Prometheus takes the rules, and that each query
/// has an answer, is shown by <c>tests/operations/monitoring/run</c>.</remarks>
public sealed partial class MonitoringTests
{
    private const string Runbooks = "docs/runbooks.md#";

    private static readonly string Folder = Path.Combine(SimulatedPaths.Root, "deploy", "monitoring");

    /// <summary>They look like families, and are labels.</summary>
    private static readonly string[] Labels = ["dynamo_component", "dynamo_endpoint", "dynamo_namespace"];

    private readonly List<YamlMappingNode> _rules = [.. ReadRules()];

    [Fact]
    public void Every_family_is_one_of_ours_or_of_vllm_or_recorded_by_a_rule()
    {
        var known = Listed()
            .Matches(File.ReadAllText(Path.Combine(SimulatedPaths.Root, "docs", "metrics.md")))
            .Select(match => match.Groups[1].Value)
            .Concat(EngineFamilies())
            .Concat(_rules.Select(rule => Text(rule, "record")))
            .ToHashSet();
        var queries = _rules.Select(rule => Text(rule, "expr")).Concat(Dashboards()).ToList();
        var used = queries.SelectMany(query => Family().Matches(query)).Select(match => match.Value).Except(Labels).ToHashSet();

        Assert.True(queries.Count > 100 && used.Count > 40, $"{queries.Count} queries, {used.Count} families");
        Assert.Empty(used.Where(name => !known.Contains(name) && !known.Contains(Sample().Replace(name, ""))).Order());
    }

    [Fact]
    public void Every_alert_has_its_section_of_the_runbooks_and_every_section_its_alert()
    {
        var alerts = _rules.Where(rule => Text(rule, "alert").Length > 0).ToDictionary(rule => Text(rule, "alert"));
        var sections = Section()
            .Matches(File.ReadAllText(Path.Combine(SimulatedPaths.Root, "docs", "runbooks.md")))
            .Select(match => match.Groups[1].Value)
            .ToList();

        Assert.True(alerts.Count > 15, $"{alerts.Count} alerts");
        Assert.Equal(alerts.Keys.Order(), sections.Order());
        Assert.All(
            alerts,
            alert =>
            {
                // A page's anchor of a heading is its text in small letters.
                var annotations = (YamlMappingNode)alert.Value["annotations"];
                Assert.Equal(Runbooks + alert.Key.ToLowerInvariant(), Text(annotations, "runbook"));
                Assert.NotEmpty(Text(annotations, "summary"));
                Assert.Contains(Text((YamlMappingNode)alert.Value["labels"], "severity"), new[] { "critical", "warning", "info" });
            }
        );
    }

    [Fact]
    public void Every_alert_has_a_test()
    {
        var tested = Tested().Matches(File.ReadAllText(Path.Combine(Folder, "rules.test.yaml"))).Select(match => match.Groups[1].Value);
        Assert.Equal(_rules.Select(rule => Text(rule, "alert")).Where(name => name.Length > 0).Order(), tested.Order());
    }

    private static IEnumerable<YamlMappingNode> ReadRules()
    {
        var stream = new YamlStream();
        using var reader = File.OpenText(Path.Combine(Folder, "rules.yaml"));
        stream.Load(reader);
        var groups = (YamlSequenceNode)stream.Documents.Single().RootNode["spec"]["groups"];
        return [.. groups.SelectMany(group => (YamlSequenceNode)group["rules"]).Cast<YamlMappingNode>()];
    }

    private static IEnumerable<string> Dashboards() =>
        Directory
            .EnumerateFiles(Path.Combine(Folder, "dashboards"), "*.json")
            .SelectMany(file =>
            {
                using var board = JsonDocument.Parse(File.ReadAllText(file));
                var panels = board.RootElement.GetProperty("panels").EnumerateArray();
                var variables = board.RootElement.GetProperty("templating").GetProperty("list").EnumerateArray();
                return panels
                    .Where(panel => panel.TryGetProperty("targets", out _))
                    .SelectMany(panel => panel.GetProperty("targets").EnumerateArray())
                    .Select(target => target.GetProperty("expr").GetString()!)
                    .Concat(
                        variables
                            .Where(variable => variable.GetProperty("type").GetString() == "query")
                            .Select(variable => variable.GetProperty("query").GetProperty("query").GetString()!)
                    )
                    .ToList();
            });

    /// <summary>As the simulated engine has them, under vLLM's names.</summary>
    private static IEnumerable<string> EngineFamilies()
    {
        var source = File.ReadAllText(Path.Combine(SimulatedPaths.SimulatedEngine, "vllm", "v1", "metrics", "prometheus.py"));
        return EngineFamily()
            .Matches(source)
            .Select(match => $"vllm:{match.Groups[1].Value}{match.Groups[2].Value}")
            .SelectMany(name => new[] { name, $"{name}_total" });
    }

    private static string Text(YamlMappingNode node, string name) =>
        node.Children.TryGetValue(new YamlScalarNode(name), out var value) ? ((YamlScalarNode)value).Value! : "";

    [GeneratedRegex(@"^\| `(\w+)` \|", RegexOptions.Multiline)]
    private static partial Regex Listed();

    [GeneratedRegex(@"(?<![\w:])(?:dynamo_\w+|process_\w+|vllm:\w+|instance:[\w:]+)")]
    private static partial Regex Family();

    [GeneratedRegex("_(?:bucket|sum|count)$")]
    private static partial Regex Sample();

    [GeneratedRegex("""(?:"vllm:(\w+)"|histogram\(\s*"(\w+)")""")]
    private static partial Regex EngineFamily();

    [GeneratedRegex("^### (DynamoWorker.*)$", RegexOptions.Multiline)]
    private static partial Regex Section();

    [GeneratedRegex(@"^      - alertname: (\w+)$", RegexOptions.Multiline)]
    private static partial Regex Tested();
}
