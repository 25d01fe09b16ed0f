using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Rules;

namespace Dynamo.Vllm.UnitTests.Worker.Configuration;

/// <summary>Resolves against the fake vLLM parser, on a host with one fixed address and no files.</summary>
internal static class ResolverSample
{
    public const string HostAddress = "192.0.2.2";

    public static WorkerConfiguration Resolve(params string[] arguments) => Resolve(CommandLineSample.NoEnvironment, arguments);

    public static WorkerConfiguration Resolve(IReadOnlyDictionary<string, string> environment, params string[] arguments) =>
        Resolve(environment, CommandLineSample.Parse(environment, arguments));

    public static WorkerConfiguration Resolve(
        IReadOnlyDictionary<string, string> environment,
        WorkerArguments arguments,
        string? address = HostAddress,
        params string[] files
    )
    {
        var resolver = new ConfigurationResolver(environment, new NixlHostProbeFake(address), files.Contains);
        return resolver.Resolve(arguments, EngineArgumentParserFake.Parse(arguments.EngineArguments));
    }

    private sealed class NixlHostProbeFake(string? address) : INixlHostProbe
    {
        public string? FindRoutableAddress() => address;
    }
}
