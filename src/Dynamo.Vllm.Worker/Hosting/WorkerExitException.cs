namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>The worker ends during its start, with a code and one line that says why.</summary>
internal sealed class WorkerExitException : Exception
{
    public WorkerExitException(int exitCode, string message, Exception? innerException = null)
        : base(message, innerException) => ExitCode = exitCode;

    public int ExitCode { get; }

    /// <summary>The message is ready to be printed as it is, such as a parser's usage text.</summary>
    public bool IsPlainText { get; init; }
}
