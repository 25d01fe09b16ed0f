using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Configuration.Rules;

/// <summary>Checks options against each other and against vLLM's, and works out names, roles and overrides.</summary>
/// <remarks>
/// Pure but for the two questions it is given: what this host is called, and whether a file exists. The checks run in the reference's
/// order, so that of several mistakes both report the same one first:
/// 1. runtime options; 2. worker roles; 3. options against vLLM's; 4. names and connectors; 5. engine overrides; 6. what only this
/// worker does not support.
/// </remarks>
public sealed partial class ConfigurationResolver
{
    private const string InstrumentedScheduler = "dynamo.vllm.instrumented_scheduler.InstrumentedScheduler";

    private readonly IReadOnlyDictionary<string, string> _environment;
    private readonly INixlHostProbe _hostProbe;
    private readonly Func<string, bool> _fileExists;

    public ConfigurationResolver(IReadOnlyDictionary<string, string> environment, INixlHostProbe hostProbe, Func<string, bool> fileExists)
    {
        _environment = environment;
        _hostProbe = hostProbe;
        _fileExists = fileExists;
    }

    /// <exception cref="ConfigurationException">The first rule that is broken.</exception>
    public WorkerConfiguration Resolve(WorkerArguments arguments, EngineArgumentValues engine)
    {
        var draft = new Draft(arguments, engine);
        var options = arguments.Options;

        draft.Namespace = WithSuffix(options.Get(RuntimeOptions.Namespace));
        draft.StructuralTag = ResolveStructuralTag(draft);
        ResolveForwardPassTrace(draft);
        CheckRuntimeOptions(options);
        ExportRuntimeOptions(draft);

        RejectRemovedVariables();
        draft.Mode = ParseMode(options.Get(VllmOptions.DisaggregationMode));
        CheckTransferMode(options.Get(VllmOptions.EmbeddingTransferMode));
        CheckEmbedding(draft);
        CheckEmbeddingProcesses(draft);
        CheckRealtime(draft);
        CheckClassify(draft);
        CheckCustomEncoder(draft);
        CheckBenchmark(draft);

        CheckAgainstEngine(draft);

        ResolveNames(draft);
        var template = ResolveTemplate(options.Get(RuntimeOptions.CustomJinjaTemplate));
        RejectConnector(draft);
        CheckPrefillHasTransfer(draft);

        ResolvePrefixCaching(draft);
        ResolveSideChannel(draft);
        ResolveEngineOverrides(draft);
        ResolveReinforcementLearning(draft);
        CheckSnapshot(options);

        return Build(draft, template);
    }

    private WorkerConfiguration Build(Draft draft, string? template) =>
        new()
        {
            Arguments = draft.Arguments,
            Engine = draft.Engine,
            Namespace = draft.Namespace,
            Component = draft.Component,
            Endpoint = draft.Endpoint,
            Mode = draft.Mode,
            Model = draft.Engine.Model,
            ServedModelName = draft.ServedModelNames.Count > 0 ? draft.ServedModelNames[0] : draft.Engine.Model,
            ServedModelNameGiven = draft.ServedModelNames.Count > 0,
            ServedModelAliases = [.. draft.ServedModelNames.Skip(1)],
            UseKvEvents = draft.UseKvEvents,
            EnablePrefixCaching = draft.EnablePrefixCaching,
            StructuralTag = draft.StructuralTag,
            CustomJinjaTemplate = template,
            ForwardPassMetrics = draft.ForwardPassMetrics,
            ForwardPassMetricsPort = draft.ForwardPassMetricsPort,
            UsesNixl = draft.UsesNixl,
            EngineOverrides = draft.Overrides,
            EnvironmentChanges = draft.Environment,
            UnsupportedFeatures = [.. FindUnsupported(draft)],
            Warnings = draft.Warnings,
            Notes = draft.Notes,
        };

    private string? Variable(string name) => _environment.GetValueOrDefault(name);

    private bool IsSet(string name) => _environment.ContainsKey(name);

    private static void Refuse(bool broken, string message)
    {
        if (broken)
        {
            throw new ConfigurationException(message);
        }
    }

    private static string Word(DisaggregationMode mode) =>
        mode switch
        {
            DisaggregationMode.Aggregated => "agg",
            DisaggregationMode.Prefill => "prefill",
            DisaggregationMode.Decode => "decode",
            _ => "encode",
        };

    private static string Quote(string text) => PythonText.Quote(text);

    /// <summary>What the steps have worked out so far; lives for one call of <see cref="Resolve"/>.</summary>
    private sealed class Draft(WorkerArguments arguments, EngineArgumentValues engine)
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

        public bool ForwardPassMetrics { get; set; }

        public int ForwardPassMetricsPort { get; set; } = 20380;

        public bool UsesNixl { get; set; }

        public Dictionary<string, JsonNode?> Overrides { get; } = [];

        public Dictionary<string, string?> Environment { get; } = [];

        public List<string> Warnings { get; } = [.. arguments.Warnings];

        public List<string> Notes { get; } = [];
    }
}
