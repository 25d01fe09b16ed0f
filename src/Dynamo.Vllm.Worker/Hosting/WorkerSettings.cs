using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>What the command line and the environment say, before anything runs.</summary>
/// <param name="Arguments">The command line.</param>
/// <param name="Environment">Variables, with those that options stand for.</param>
/// <param name="Runtime">What Dynamo's variables mean.</param>
/// <param name="Planes">Which planes are used.</param>
internal sealed record WorkerSettings(
    WorkerArguments Arguments,
    IReadOnlyDictionary<string, string> Environment,
    RuntimeEnvironment Runtime,
    RuntimePlanes Planes
)
{
    public OptionValues Options => Arguments.Options;
}
