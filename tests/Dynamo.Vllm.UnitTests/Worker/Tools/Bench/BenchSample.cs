using System.CommandLine;
using Dynamo.Vllm.Worker.Tools.Bench;

namespace Dynamo.Vllm.UnitTests.Worker.Tools.Bench;

/// <summary>Options as a command line gives them.</summary>
internal static class BenchSample
{
    /// <exception cref="FormatException">The command refuses them.</exception>
    public static BenchOptions Options(params string[] arguments)
    {
        var options = new BenchCommandOptions();
        var command = new Command("bench");
        foreach (var option in options.All)
        {
            command.Options.Add(option);
        }

        var result = command.Parse(arguments);
        return result.Errors.Count == 0 ? options.Read(result) : throw new FormatException(result.Errors[0].Message);
    }
}
