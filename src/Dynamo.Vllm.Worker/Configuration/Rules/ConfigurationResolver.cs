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
public sealed class ConfigurationResolver
{
    private readonly BenchmarkRules _benchmark;
    private readonly ConnectorRules _connectors;
    private readonly EngineRules _engine;
    private readonly RoleRules _roles;
    private readonly RuntimeRules _runtime;
    private readonly SupportRules _support;
    private readonly StateAgentRules _stateAgent;

    public ConfigurationResolver(IReadOnlyDictionary<string, string> environment, INixlHostProbe hostProbe, Func<string, bool> fileExists)
    {
        var facts = new HostFacts(environment, hostProbe, fileExists);
        _benchmark = new BenchmarkRules(facts);
        _connectors = new ConnectorRules(facts);
        _engine = new EngineRules(facts, _benchmark);
        _roles = new RoleRules(facts);
        _runtime = new RuntimeRules(facts);
        _support = new SupportRules(facts);
        _stateAgent = new StateAgentRules(facts);
    }

    /// <exception cref="ConfigurationException">The first rule that is broken.</exception>
    public WorkerConfiguration Resolve(WorkerArguments arguments, EngineArgumentValues engine)
    {
        var draft = new ConfigurationDraft(arguments, engine);
        var options = arguments.Options;

        draft.Namespace = _runtime.WithSuffix(options.Get(RuntimeOptions.Namespace));
        draft.StructuralTag = _runtime.ResolveStructuralTag(draft);
        _runtime.ResolveForwardPassTrace(draft);
        _runtime.CheckRuntimeOptions(options);

        _roles.RejectRemovedVariables();
        draft.Mode = _roles.ParseMode(options.Get(VllmOptions.DisaggregationMode));
        _roles.CheckTransferMode(options.Get(VllmOptions.EmbeddingTransferMode));
        _roles.CheckEmbedding(draft);
        _roles.CheckEmbeddingProcesses(draft);
        _roles.CheckRealtime(draft);
        _roles.CheckClassify(draft);
        _roles.CheckCustomEncoder(draft);
        RoleRules.CheckGrpcRequests(draft);
        _benchmark.CheckBenchmark(draft);

        _engine.CheckAgainstEngine(draft);

        _connectors.ResolveNames(draft);
        var template = _runtime.ResolveTemplate(options.Get(RuntimeOptions.CustomJinjaTemplate));
        _connectors.RejectConnector(draft);
        _connectors.CheckPrefillHasTransfer(draft);

        _engine.ResolvePrefixCaching(draft);
        _connectors.ResolveSideChannel(draft);
        _engine.ResolveEngineOverrides(draft);
        _engine.ResolveReinforcementLearning(draft);
        draft.StateAgent = _stateAgent.Resolve(draft);
        _engine.CheckSnapshot(options);

        return Build(draft, template);
    }

    private WorkerConfiguration Build(ConfigurationDraft draft, string? template) =>
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
            StateAgent = draft.StateAgent,
            EnablePrefixCaching = draft.EnablePrefixCaching,
            StructuralTag = draft.StructuralTag,
            CustomJinjaTemplate = template,
            ForwardPassMetrics = draft.ForwardPassMetrics,
            ForwardPassMetricsPort = draft.ForwardPassMetricsPort,
            UsesNixl = draft.UsesNixl,
            Benchmark = draft.Benchmark,
            EngineOverrides = draft.Overrides,
            EnvironmentChanges = draft.Environment,
            UnsupportedFeatures = [.. _support.FindUnsupported(draft)],
            Warnings = draft.Warnings,
            Notes = draft.Notes,
        };
}
