using System.Text.Json;
using Dynamo.Vllm.Testing;
using YamlDotNet.RepresentationModel;

namespace Dynamo.Vllm.UnitTests.Deployment;

/// <summary>What can be held of the chart without rendering it.</summary>
/// <remarks>That it renders what deploy/kubernetes has, and that an
/// API server takes it, is shown by <c>tests/operations/helm/run</c>.</remarks>
public sealed class HelmChartTests
{
    private static readonly string Folder = Path.Combine(SimulatedPaths.Root, "deploy", "helm", "dynamo-vllm-worker");

    private readonly YamlMappingNode _values = Read(Path.Combine(Folder, "values.yaml"));

    [Fact]
    public void Every_value_has_its_rule_in_the_schema_and_every_rule_its_value()
    {
        using var schema = JsonDocument.Parse(File.ReadAllText(Path.Combine(Folder, "values.schema.json")));
        AssertSameKeys("values", _values, schema.RootElement);
    }

    [Fact]
    public void The_grace_period_is_that_of_the_manifest()
    {
        var deployment = Read(Path.Combine(SimulatedPaths.Root, "deploy", "kubernetes", "worker", "deployment.yaml"));
        Assert.Equal(
            deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].ToString(),
            _values["terminationGracePeriodSeconds"].ToString()
        );
    }

    private static void AssertSameKeys(string place, YamlMappingNode values, JsonElement schema)
    {
        var rules = schema.GetProperty("properties").EnumerateObject().ToDictionary(rule => rule.Name, rule => rule.Value);
        rules.Remove("global"); // Helm's own
        Assert.Equal((place, Names(rules.Keys)), (place, Names(values.Children.Keys.Select(key => key.ToString()))));
        Assert.False(schema.GetProperty("additionalProperties").GetBoolean(), place);
        foreach (var (key, value) in values.Children)
        {
            // What Kubernetes defines (resources, labels) is not described again.
            if (value is YamlMappingNode table && rules[key.ToString()].TryGetProperty("properties", out _))
            {
                AssertSameKeys($"{place}.{key}", table, rules[key.ToString()]);
            }
        }
    }

    private static string Names(IEnumerable<string> names) => string.Join(' ', names.Order(StringComparer.Ordinal));

    private static YamlMappingNode Read(string path)
    {
        var stream = new YamlStream();
        using var reader = File.OpenText(path);
        stream.Load(reader);
        return (YamlMappingNode)stream.Documents.Single().RootNode;
    }
}
