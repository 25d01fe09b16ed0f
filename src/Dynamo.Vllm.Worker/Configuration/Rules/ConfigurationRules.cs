using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Configuration.Rules;

/// <summary>Rules of one subject. They look at a draft and write into it; their order is the resolver's.</summary>
internal abstract class ConfigurationRules(HostFacts facts)
{
    protected const string InstrumentedScheduler = "dynamo.vllm.instrumented_scheduler.InstrumentedScheduler";

    protected const string MetricsPortVariable = "DYN_FORWARDPASS_METRIC_PORT";
    protected const string SnapshotVariable = "DYN_SNAPSHOT_CONTROL_DIR";

    protected HostFacts Facts { get; } = facts;

    protected string? Variable(string name) => Facts.Environment.GetValueOrDefault(name);

    protected bool IsSet(string name) => Facts.Environment.ContainsKey(name);

    /// <exception cref="ConfigurationException">The rule is broken.</exception>
    protected static void Refuse(bool broken, string message)
    {
        if (broken)
        {
            throw new ConfigurationException(message);
        }
    }

    protected static string Word(DisaggregationMode mode) =>
        mode switch
        {
            DisaggregationMode.Aggregated => "agg",
            DisaggregationMode.Prefill => "prefill",
            DisaggregationMode.Decode => "decode",
            _ => "encode",
        };

    protected static string Quote(string text) => PythonText.Quote(text);
}
