using System.Buffers;

namespace Dynamo.Vllm.Python.Interpreter;

/// <summary>The border as the guest sees it. Both calls come from the Python
/// thread, which holds the interpreter lock: copy and leave.</summary>
internal interface IGuestPort
{
    /// <summary>Readable when messages wait.</summary>
    int EventFd { get; }

    /// <summary>Appends the waiting messages; returns the number of bytes.</summary>
    int Take(IBufferWriter<byte> output);

    /// <summary>Takes a copy of one batch from Python.</summary>
    void Post(ReadOnlySpan<byte> batch);
}
