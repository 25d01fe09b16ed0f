using System.Text.RegularExpressions;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.UnitTests.Worker.Hosting;
using Dynamo.Vllm.Worker.Configuration.Parsing;
using Dynamo.Vllm.Worker.Hosting;
using Microsoft.Extensions.DependencyInjection;
using YamlDotNet.RepresentationModel;

namespace Dynamo.Vllm.UnitTests.Deployment;

/// <summary>Numbers, flags and variables under deploy/ are those of the code.</summary>
/// <remarks>That an API server takes the files, and a worker runs as they say, is shown by <c>tests/operations/kubernetes</c>.</remarks>
public sealed partial class ManifestTests
{
    private const string GraceVariable = "DYN_VLLM_TERMINATION_GRACE_PERIOD_SECS";

    private static readonly string Folder = Path.Combine(SimulatedPaths.Root, "deploy");

    /// <summary>vLLM's own flags, as the simulated engine accepts them.</summary>
    private static readonly HashSet<string> EngineFlags =
    [
        .. File.ReadLines(Path.Combine(SimulatedPaths.SimulatedEngine, "vllm", "engine", "options-0.31.tsv"))
            .SelectMany(line => Flag().Matches(line).Select(match => match.Value)),
    ];

    public static TheoryData<string> Pods => [.. Files().Where(file => WorkerPods(file).Any())];

    [Fact]
    public void There_are_pods_of_workers_for_both_ways_to_deploy()
    {
        Assert.Equal(
            5,
            WorkerPods("operator/aggregated.yaml", "operator/disaggregated.yaml", "operator/kv-routing.yaml", "operator/lora.yaml").Count()
        );
        Assert.Single(WorkerPods("kubernetes/worker/deployment.yaml"));
    }

    [Theory]
    [MemberData(nameof(Pods))]
    public void A_pod_grants_what_a_stop_may_take_and_says_the_same_number_to_the_worker(string file)
    {
        foreach (var pod in WorkerPods(file))
        {
            var granted = int.Parse(Text(pod, "terminationGracePeriodSeconds"), System.Globalization.CultureInfo.InvariantCulture);
            var container = MainContainer(pod);
            var environment = Variables(container);
            Assert.Equal($"{granted}", environment[GraceVariable]);

            var settings = StageSample.Settings(environment, [.. Words(container, "args")]);
            using var host = StageSample.Host(settings);
            var needed = host.Services.GetRequiredService<StopAllowance>().Needed;
            Assert.True(granted >= needed.TotalSeconds, $"{file}: {granted} s are granted and {needed.TotalSeconds} s are needed");
            Assert.Equal(granted, settings.Arguments.Host.TerminationGracePeriod!.Value.TotalSeconds);
        }
    }

    [Theory]
    [MemberData(nameof(Pods))]
    public void Probes_ask_paths_and_the_port_of_the_status_server(string file)
    {
        foreach (var container in WorkerPods(file).Select(MainContainer))
        {
            var environment = Variables(container);
            environment.TryAdd("DYN_SYSTEM_PORT", "9090"); // the operator sets it
            var server = StageSample.Settings(environment, [.. Words(container, "args")]).Runtime.SystemServer;
            foreach (var (probe, path) in Probes(container))
            {
                Assert.Equal(probe == "readinessProbe" ? server.HealthPath : server.LivePath, path);
            }

            if (Child(container, "ports") is YamlSequenceNode ports)
            {
                var system = ports.Cast<YamlMappingNode>().Single(port => Text(port, "name") == "system");
                Assert.Equal($"{server.Port}", Text(system, "containerPort"));
            }
        }
    }

    [Fact]
    public void Every_flag_is_known_to_the_parsers()
    {
        Assert.True(EngineFlags.Count > 100, $"{EngineFlags.Count} flags");
        // Of kustomizations the patches, too: arguments are added one by one there. And what the chart makes them with.
        var given = Files()
            .Append("helm/dynamo-vllm-worker/templates/_helpers.tpl")
            .SelectMany(file => File.ReadLines(Path.Combine(Folder, file)))
            .Select(line => AddedArgument().Match(line))
            .Where(match => match.Success)
            .Select(match => match.Groups[1].Value)
            .ToHashSet();
        Assert.Superset(new HashSet<string> { "--model", "--enable-lora", "--disaggregation-mode", "--kv-events-config" }, given);
        given.Remove("--router-mode"); // of the frontend, in the sample for KV routing
        Assert.All(given, flag => Assert.True(EngineFlags.Contains(flag) || IsOurs(flag), flag));
    }

    [Fact]
    public void The_role_has_the_rights_that_the_worker_uses_and_no_other()
    {
        var role = Documents("kubernetes/access/worker.yaml").Single(document => Text(document, "kind") == "Role");
        var rule = (YamlMappingNode)Assert.Single((YamlSequenceNode)Child(role, "rules")!);
        Assert.Equal(["nvidia.com"], Words(rule, "apiGroups"));
        Assert.Equal(["dynamoworkermetadatas"], Words(rule, "resources"));
        Assert.Equal(["create", "patch"], Words(rule, "verbs"));
    }

    /// <summary>Ours takes it, and leaves nothing of it to vLLM.</summary>
    private static bool IsOurs(string flag) =>
        Dynamo.Vllm.Worker.Configuration.Parsing.CommandLineParser.Parse([flag, "prefill"], new Dictionary<string, string>()).Arguments
            is { } parsed
        && !parsed.EngineArguments.Contains(flag);

    /// <summary>But the chart's, which are no manifests before they are rendered.</summary>
    private static IEnumerable<string> Files() =>
        Directory
            .EnumerateFiles(Folder, "*.yaml", SearchOption.AllDirectories)
            .Select(file => Path.GetRelativePath(Folder, file))
            .Where(file => !file.StartsWith("helm/", StringComparison.Ordinal))
            .Order();

    private static IEnumerable<YamlMappingNode> Documents(string file)
    {
        var stream = new YamlStream();
        using var reader = File.OpenText(Path.Combine(Folder, file));
        stream.Load(reader);
        return stream.Documents.Select(document => (YamlMappingNode)document.RootNode).ToList();
    }

    /// <summary>Pods whose main container is our worker.</summary>
    private static IEnumerable<YamlMappingNode> WorkerPods(params string[] files) =>
        files
            .SelectMany(Documents)
            .SelectMany(document =>
                Text(document, "kind") switch
                {
                    "Deployment" => [Child(document, "spec", "template", "spec")],
                    "DynamoGraphDeployment" => ((YamlSequenceNode)Child(document, "spec", "components")!).Select(component =>
                        Child((YamlMappingNode)component, "podTemplate", "spec")
                    ),
                    _ => [],
                }
            )
            .Cast<YamlMappingNode>()
            .Where(pod =>
                Words(MainContainer(pod), "command").Any(word => word.EndsWith("Dynamo.Vllm.Worker.dll", StringComparison.Ordinal))
            );

    private static YamlMappingNode MainContainer(YamlMappingNode pod) =>
        ((YamlSequenceNode)Child(pod, "containers")!).Cast<YamlMappingNode>().Single(container => Text(container, "name") == "main");

    private static IEnumerable<(string Probe, string Path)> Probes(YamlMappingNode container) =>
        new[] { "startupProbe", "livenessProbe", "readinessProbe" }
            .Select(probe => (probe, Child(container, probe, "httpGet")))
            .Where(pair => pair.Item2 is not null)
            .Select(pair => (pair.probe, Text((YamlMappingNode)pair.Item2!, "path")));

    /// <summary>Those with a value; the rest comes from the pod.</summary>
    private static Dictionary<string, string> Variables(YamlMappingNode container) =>
        ((YamlSequenceNode)Child(container, "env")!)
            .Cast<YamlMappingNode>()
            .Where(variable => Child(variable, "value") is not null)
            .ToDictionary(variable => Text(variable, "name"), variable => Text(variable, "value"));

    private static YamlNode? Child(YamlMappingNode node, params string[] path)
    {
        YamlNode? found = node;
        foreach (var name in path)
        {
            found = found is YamlMappingNode map && map.Children.TryGetValue(new YamlScalarNode(name), out var next) ? next : null;
        }

        return found;
    }

    private static string Text(YamlMappingNode node, string name) => ((YamlScalarNode?)Child(node, name))?.Value ?? "";

    private static IEnumerable<string> Words(YamlMappingNode node, string name) =>
        (Child(node, name) as YamlSequenceNode)?.Select(word => ((YamlScalarNode)word).Value!) ?? [];

    [GeneratedRegex(@"--[a-z0-9-]+")]
    private static partial Regex Flag();

    [GeneratedRegex(@"^\s*(?:- |value: )(--[a-z0-9-]+)$")]
    private static partial Regex AddedArgument();
}
