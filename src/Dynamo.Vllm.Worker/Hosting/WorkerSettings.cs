using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;

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
