using Dynamo.Vllm.Python.Locating;

namespace Dynamo.Vllm.Python.Interpreter;

/// <summary>How CPython is started and entered: own code over the C API, or pythonnet (docs/decisions/0002-python-binding.md).</summary>
internal interface IPythonBinding
{
    /// <summary>Starts the interpreter on the calling thread, runs the guest
    /// to its end and releases the interpreter lock for good.</summary>
    /// <returns>Null if the guest returned, else its traceback.</returns>
    /// <remarks>Called once per process, on the one Python thread. Never
    /// finalizes: that hangs or crashes with loaded extension modules.</remarks>
    string? Run(PythonInstallation installation, GuestProgram program, IGuestPort port);
}
