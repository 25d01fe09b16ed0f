using Dynamo.Vllm.Worker.Help;

namespace Dynamo.Vllm.Worker.Configuration.Parsing;

/// <summary>The command line itself is wrong. Ends the process with <see cref="ExitCodes.Usage"/>.</summary>
public sealed class UsageException : Exception
{
    public UsageException(string message, string usage)
        : base(message) => Usage = usage;

    /// <summary>The usage text of the parser that refused the command line, without a final line feed.</summary>
    public string Usage { get; }

    /// <summary>What goes to stderr: the usage, then one line that scripts of the reference already look for.</summary>
    public string StandardError => $"{Usage}\n{ProgramIdentity.Name}: error: {Message}\n";
}
