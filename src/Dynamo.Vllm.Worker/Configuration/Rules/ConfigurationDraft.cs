using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Configuration.Rules;

/// <summary>What the steps have worked out so far; lives for one call of <see cref="ConfigurationResolver.Resolve"/>.</summary>
internal sealed class ConfigurationDraft(WorkerArguments arguments, EngineArgumentValues engine)
{
    public WorkerArguments Arguments { get; } = arguments;

    public EngineArgumentValues Engine { get; } = engine;

    public OptionValues Options => Arguments.Options;

    public string Namespace { get; set; } = string.Empty;

    public string Component { get; set; } = string.Empty;

    public string Endpoint { get; set; } = "generate";

    public DisaggregationMode Mode { get; set; }

    public IReadOnlyList<string> ServedModelNames { get; set; } = [];

    public StructuralTag? StructuralTag { get; set; }

    public bool EnablePrefixCaching { get; set; }

    public bool UseKvEvents { get; set; }

    public StateAgentSettings? StateAgent { get; set; }

    public bool ForwardPassMetrics { get; set; }

    public int ForwardPassMetricsPort { get; set; } = 20380;

    public bool UsesNixl { get; set; }

    /// <summary>What the scheduler is to measure before the worker serves, in its words.</summary>
    public JsonObject? Benchmark { get; set; }

    public Dictionary<string, JsonNode?> Overrides { get; } = [];

    public Dictionary<string, string?> Environment { get; } = [];

    public List<string> Warnings { get; } = [.. arguments.Warnings];

    public List<string> Notes { get; } = [];
}
