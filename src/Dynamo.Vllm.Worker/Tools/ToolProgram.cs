using System.CommandLine;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Tools.Bench;

namespace Dynamo.Vllm.Worker.Tools;

/// <summary>The tools beside the worker: <c>demo</c>, <c>call</c>, <c>doctor</c>, <c>top</c>, <c>bench</c>.
/// The worker's own options keep argparse's rules and are not here.</summary>
internal static class ToolProgram
{
    private static readonly string[] Names = ["demo", "call", "doctor", "top", "bench"];

    public static bool IsTool(string[] arguments) => arguments.Length > 0 && Names.Contains(arguments[0]);

    public static async Task<int> RunAsync(string[] arguments)
    {
        var root = new RootCommand("Tools of dynamo-vllm. Without a tool's name the program is the worker; see --help.");
        root.Subcommands.Add(Demo());
        root.Subcommands.Add(Call());
        root.Subcommands.Add(Doctor());
        root.Subcommands.Add(Top());
        root.Subcommands.Add(BenchCommand.Create());
        // A word that begins with @ is the worker's, not a file with more words.
        var parsed = root.Parse(arguments, new ParserConfiguration { ResponseFileTokenReplacer = null });
        var code = await parsed.InvokeAsync().ConfigureAwait(false);
        return parsed.Errors.Count > 0 ? ExitCodes.Usage : code;
    }

    private static Command Demo()
    {
        var command = new Command(
            "demo",
            "Starts a worker on the simulated engine and shows what it does: tokens, health, a cancel, a drain."
        );
        command.SetAction((_, cancellationToken) => new DemoTool(Console.Out).RunAsync(cancellationToken));
        return command;
    }

    private static Command Call()
    {
        var address = new Option<string?>("--address")
        {
            Description = "ip:port/path of an instance; else the first one in the file discovery store (DYN_FILE_KV)",
        };
        var endpoint = new Option<string>("--endpoint") { Description = "Endpoint to call", DefaultValueFactory = _ => "generate" };
        var tokens = new Option<string>("--tokens")
        {
            Description = "Prompt as token ids, separated by commas",
            DefaultValueFactory = _ => "1,45,375,319",
        };
        var maxTokens = new Option<int>("--max-tokens") { Description = "How many tokens to generate", DefaultValueFactory = _ => 16 };
        var body = new Option<string?>("--body") { Description = "Whole request as JSON, instead of the options above" };
        var command = new Command("call", "Sends one request to a live worker and prints each item as it arrives.")
        {
            address,
            endpoint,
            tokens,
            maxTokens,
            body,
        };
        command.SetAction(
            (result, cancellationToken) =>
                CallTool.RunAsync(
                    new CallToolOptions(
                        result.GetValue(address),
                        result.GetValue(endpoint)!,
                        result.GetValue(tokens)!,
                        result.GetValue(maxTokens),
                        result.GetValue(body)
                    ),
                    Console.Out,
                    cancellationToken
                )
        );
        return command;
    }

    private static Command Doctor()
    {
        var json = new Option<bool>("--json") { Description = "Print the findings as JSON, for machines" };
        var command = new Command(
            "doctor",
            "Checks whether a worker with these arguments would start, serve and be found on this machine, and says what to do if not. "
                + "Takes the worker's own arguments. Exit code: 0 no problem, 1 a problem, 2 arguments that cannot be read."
        )
        {
            json,
        };
        command.TreatUnmatchedTokensAsErrors = false; // the worker's, whose parser is another one
        command.SetAction(
            (result, cancellationToken) =>
                DoctorTool.RunAsync([.. result.UnmatchedTokens], result.GetValue(json), Console.Out, cancellationToken)
        );
        return command;
    }

    private static Command Top()
    {
        var addresses = new Argument<string[]>("addresses")
        {
            Description = "Status ports: HOST:PORT, a port of this host, or a URL; else DYN_SYSTEM_PORT",
            Arity = ArgumentArity.ZeroOrMore,
        };
        var interval = new Option<double>("--interval") { Description = "Seconds between two looks", DefaultValueFactory = _ => 2 };
        var count = new Option<int>("--count") { Description = "Tables until it ends; 0: until Ctrl-C", DefaultValueFactory = _ => 0 };
        var command = new Command(
            "top",
            "Shows what workers do, from /metrics: state, running and waiting requests, tokens and requests a second, use of the KV cache, "
                + "95th percentile of the time to the first token. Exit code: 0, or 1 where none could be seen."
        )
        {
            addresses,
            interval,
            count,
        };
        command.SetAction(
            (result, cancellationToken) =>
                TopAsync(result.GetValue(addresses) ?? [], result.GetValue(interval), result.GetValue(count), cancellationToken)
        );
        return command;
    }

    private static async Task<int> TopAsync(string[] addresses, double interval, int count, CancellationToken cancellationToken)
    {
        try
        {
            var options = TopOptions.Of(addresses, Environment.GetEnvironmentVariable("DYN_SYSTEM_PORT"), interval, count);
            using var http = new HttpClient { MaxResponseContentBufferSize = TopTool.PageBytesMax, Timeout = Timeout.InfiniteTimeSpan };
            return await new TopTool(options, http, Console.Out, !Console.IsOutputRedirected, TimeProvider.System)
                .RunAsync(cancellationToken)
                .ConfigureAwait(false);
        }
        catch (FormatException exception)
        {
            await Console.Error.WriteLineAsync($"top: {exception.Message}").ConfigureAwait(false);
            return ExitCodes.Usage;
        }
    }
}
