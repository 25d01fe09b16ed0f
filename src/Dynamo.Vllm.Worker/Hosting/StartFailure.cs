using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Python.Locating;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.StartUp;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>What a failed start says to the operator, and the code it ends with.</summary>
internal static class StartFailure
{
    /// <param name="exception">That ended the start.</param>
    /// <param name="engineError">What a process of the engine ended with, where it told.</param>
    public static WorkerExitException Of(Exception exception, string? engineError = null) =>
        exception switch
        {
            WorkerExitException exit => exit,
            ConfigurationException => new WorkerExitException(ExitCodes.Failure, exception.Message),
            PythonNotUsableException => new WorkerExitException(ExitCodes.Failure, exception.Message),
            EngineCallException { Kind: "usage" } => new WorkerExitException(ExitCodes.Usage, exception.Message) { IsPlainText = true },
            EngineCallException { Kind: "unsupported" or "fetch" } => new WorkerExitException(ExitCodes.Failure, exception.Message),
            EngineCallException { PythonType: "ModuleNotFoundError", Message: "No module named 'vllm'" } => new WorkerExitException(
                ExitCodes.Failure,
                "vLLM is not installed for this Python: install vllm there, choose another one with --python, or try --simulated-engine",
                exception
            ),
            EngineCallException call when engineError is not null && EngineErrors.IsPointer(call.Message) => new WorkerExitException(
                ExitCodes.Failure,
                $"{engineError} ({call.PythonType} here: {call.Message})" + (call.Traceback is null ? "" : "\n" + call.Traceback),
                exception
            ),
            EngineCallException call => new WorkerExitException(
                ExitCodes.Failure,
                $"{call.PythonType}: {call.Message}" + (call.Traceback is null ? "" : "\n" + call.Traceback),
                exception
            ),
            // Their messages name the path: a disk that is full or read-only, a file that may not be read.
            InvalidOperationException or IOException or UnauthorizedAccessException => new WorkerExitException(
                ExitCodes.Failure,
                exception.Message,
                exception
            ),
            _ => new WorkerExitException(ExitCodes.Failure, exception.ToString(), exception),
        };
}
