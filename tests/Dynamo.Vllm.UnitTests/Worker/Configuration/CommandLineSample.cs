using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.UnitTests.Worker.Configuration;

/// <summary>Parses command lines written as a shell would split them, with an environment that holds only what the test gives.</summary>
internal static class CommandLineSample
{
    public static IReadOnlyDictionary<string, string> NoEnvironment { get; } = new Dictionary<string, string>();

    public static WorkerArguments Parse(params string[] arguments) => Parse(NoEnvironment, arguments);

    public static WorkerArguments Parse(IReadOnlyDictionary<string, string> environment, params string[] arguments) =>
        CommandLineParser.Parse(arguments, environment).Arguments
        ?? throw new InvalidOperationException("The command line asked for a text, not for a run.");

    public static IReadOnlyDictionary<string, string> Environment(string variable, string value) =>
        new Dictionary<string, string> { [variable] = value };

    public static string Golden(string name) => File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "golden", "worker", name));
}
