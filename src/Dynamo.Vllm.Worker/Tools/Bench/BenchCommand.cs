using System.CommandLine;

namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>The command <c>bench</c>. Options have the names and defaults that they have in <c>vllm bench serve</c>; of those there are
/// many more, and one that is not here is refused by its name.</summary>
internal static class BenchCommand
{
    public static Command Create()
    {
        var options = new BenchCommandOptions();
        var command = new Command(
            "bench",
            "Puts load on an OpenAI endpoint (/v1/completions or /v1/chat/completions, streamed) and sums up what clients saw, with the "
                + "options and the words of 'vllm bench serve'. Exit code: 0, 1 where requests failed, 2 for options that cannot be used, "
                + "130 after Ctrl-C, which sums up what was done."
        );
        foreach (var option in options.All)
        {
            command.Options.Add(option);
        }

        command.SetAction(
            async (result, cancellationToken) =>
            {
                try
                {
                    return await BenchTool.RunAsync(options.Read(result), cancellationToken).ConfigureAwait(false);
                }
                catch (FormatException exception)
                {
                    await Console.Error.WriteLineAsync($"bench: {exception.Message}").ConfigureAwait(false);
                    return Configuration.ExitCodes.Usage;
                }
            }
        );
        return command;
    }
}
