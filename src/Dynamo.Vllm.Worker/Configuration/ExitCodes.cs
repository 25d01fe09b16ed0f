namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>Exit codes of the worker; operators' restart policies depend on them.</summary>
public static class ExitCodes
{
    /// <summary><c>--help</c>, <c>--version</c>, and every graceful stop, busy or idle.</summary>
    public const int Success = 0;

    /// <summary>A failure while starting (configuration, runtime, engine), or the death of the engine later.</summary>
    public const int Failure = 1;

    /// <summary>The command line could not be parsed, by us or by vLLM.</summary>
    public const int Usage = 2;
}
