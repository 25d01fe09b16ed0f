namespace Dynamo.Vllm.Python.Locating;

/// <summary>No interpreter can be embedded. The message is one line that names what to install or set.</summary>
public sealed class PythonNotUsableException : Exception
{
    public PythonNotUsableException(string message)
        : base(message) { }
}
