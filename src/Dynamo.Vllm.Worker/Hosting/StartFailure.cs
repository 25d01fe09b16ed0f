using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Python.Locating;
using Dynamo.Vllm.Worker.Configuration;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>What a failed start says to the operator, and the code it ends with.</summary>
internal static class StartFailure
{
    public static WorkerExitException Of(Exception exception) =>
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
