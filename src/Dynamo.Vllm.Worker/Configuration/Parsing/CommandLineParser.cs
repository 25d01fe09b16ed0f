using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Help;

namespace Dynamo.Vllm.Worker.Configuration.Parsing;

/// <summary>The first two of the three parsers that share the command line; vLLM's own, in Python, is the third.</summary>
/// <remarks>
/// The order matters: Dynamo's options are taken first and in full spelling only, router options second and also abbreviated, and what
/// is left goes to vLLM, which refuses whatever it does not know. Pure: reads no file and no process state.
/// </remarks>
public static class CommandLineParser
{
    /// <summary>Parses everything that can be decided without vLLM.</summary>
    /// <exception cref="UsageException">The command line is malformed.</exception>
    /// <exception cref="ConfigurationException">A variable cannot be converted. Checked first, even for <c>--help</c>.</exception>
    public static ParsedCommandLine Parse(IReadOnlyList<string> arguments, IReadOnlyDictionary<string, string> environment)
    {
        var formatter = new HelpFormatter(HelpText.Columns(environment));
        var workerParser = new ArgumentParser(
            OptionGroups.WorkerParser,
            environment,
            abbreviations: false,
            formatter.Usage(OptionGroups.WorkerParser)
        );
        var routerParser = new ArgumentParser(
            OptionGroups.RouterParser,
            environment,
            abbreviations: true,
            formatter.Usage(OptionGroups.RouterParser)
        );

        var worker = workerParser.ParseKnown(arguments);
        if (worker.Request != CommandLineRequest.Run)
        {
            return new ParsedCommandLine(worker.Request, null);
        }

        var router = routerParser.ParseKnown(worker.Remainder);
        return new ParsedCommandLine(
            CommandLineRequest.Run,
            new WorkerArguments
            {
                Options = worker.Options.With(router.Options),
                Host = HostSettings.From(worker.Options),
                EngineArguments = router.Remainder,
                Warnings = [.. worker.Warnings, .. router.Warnings],
            }
        );
    }
}
