using System.Net;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;
using Dynamo.Vllm.Worker.Configuration.Rules;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>What the command line and the environment say, before anything runs.</summary>
/// <param name="Arguments">The command line.</param>
/// <param name="Environment">Variables, with those that options stand for.</param>
/// <param name="ExportedVariables">What differs in <paramref name="Environment"/> from the process's own; null means removed.</param>
/// <param name="Runtime">What Dynamo's variables mean.</param>
/// <param name="Planes">Which planes are used.</param>
internal sealed record WorkerSettings(
    WorkerArguments Arguments,
    IReadOnlyDictionary<string, string> Environment,
    IReadOnlyDictionary<string, string?> ExportedVariables,
    RuntimeEnvironment Runtime,
    RuntimePlanes Planes
)
{
    public OptionValues Options => Arguments.Options;

    /// <summary>
    /// As many instances of the endpoint are in discovery as the reference has processes, so that a fleet of both shares its load evenly.
    /// Where the identity is the pod's there is one.
    /// </summary>
    public int Instances => Planes.Discovery == DiscoveryBackend.Kubernetes ? 1 : ReferenceProcesses;

    /// <summary>Where the reference's other processes have their status ports: probes that are sent there find one, too.</summary>
    public IReadOnlyList<int> FurtherStatusPorts =>
        Runtime.SystemServer.Port is > 0 and var port
            ? [.. Enumerable.Range(port + 1, ReferenceProcesses - 1).Where(further => further <= IPEndPoint.MaxPort)]
            : [];

    /// <summary>How many the reference would start. The number is checked with the other settings, later than it is needed here.</summary>
    private int ReferenceProcesses =>
        Options.Get(VllmOptions.EmbeddingWorker)
            ? (int)Math.Clamp(Options.Get(VllmOptions.EmbeddingWorkerProcesses), 1, RoleRules.EmbeddingProcessesMax)
            : 1;

    /// <summary>From the command line and the process's own environment.</summary>
    /// <exception cref="ConfigurationException">A variable has an impossible value.</exception>
    public static WorkerSettings From(WorkerArguments arguments, IReadOnlyDictionary<string, string> environment)
    {
        var exported = RuntimeOptionsExport.Changes(arguments.Options, environment);
        return new WorkerSettings(
            arguments,
            RuntimeOptionsExport.Apply(environment, exported),
            exported,
            RuntimeEnvironment.Parse(environment, arguments.Options),
            RuntimePlanes.From(arguments.Options)
        );
    }
}
