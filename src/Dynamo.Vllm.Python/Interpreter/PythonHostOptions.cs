namespace Dynamo.Vllm.Python.Interpreter;

/// <summary>Bounds of the border.</summary>
public sealed record PythonHostOptions
{
    /// <summary>Messages that may wait for Python. A full mailbox refuses the next request as overload.</summary>
    public int MailboxCountMax { get; init; } = 65_536;

    /// <summary>Bytes that may wait for Python.</summary>
    public long MailboxBytesMax { get; init; } = 256L << 20;

    /// <summary>Stack of the Python thread: deep imports and native extensions expect the size of a main thread.</summary>
    public int StackBytes { get; init; } = 16 << 20;
}
