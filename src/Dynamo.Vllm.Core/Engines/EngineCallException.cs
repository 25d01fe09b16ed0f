namespace Dynamo.Vllm.Core.Engines;

/// <summary>A control call failed in Python.</summary>
/// <remarks><see cref="PythonType"/> and the message are those of the Python exception.</remarks>
public sealed class EngineCallException : Exception
{
    public EngineCallException(string kind, string pythonType, string message, string? traceback = null)
        : base(message)
    {
        Kind = kind;
        PythonType = pythonType;
        Traceback = traceback;
    }

    /// <summary>
    /// Kind as failures.py names it: usage, fetch, engine_dead, http, media, invalid_argument, timeout, disconnected, unknown.
    /// </summary>
    public string Kind { get; }

    public string PythonType { get; }

    /// <summary>HTTP status of the kinds http and media.</summary>
    public int Status { get; init; } = 500;

    public string? Traceback { get; }
}
