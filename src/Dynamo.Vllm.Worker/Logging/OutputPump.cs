using System.IO.Pipes;
using System.Runtime.InteropServices;
using Dynamo.Vllm.Python.Platform;

namespace Dynamo.Vllm.Worker.Logging;

/// <summary>A pipe that is always read: who writes to it never waits longer than
/// for this thread, and what is read goes to a writer that drops.</summary>
internal sealed class OutputPump
{
    private const int ReadBytesMax = 64 * 1024;

    private readonly AnonymousPipeServerStream _pipe = new(PipeDirection.In, HandleInheritability.None, ReadBytesMax);
    private readonly OutputWriter _writer;
    private readonly Lock _lock = new();
    private readonly byte[] _buffer = new byte[ReadBytesMax];
    private bool _isInsideDropped;
    private LineScanner? _scanner;

    public OutputPump(string name, OutputWriter writer)
    {
        _writer = writer;
        // Its end is the process's: the pipe has writers all the while.
        new Thread(Run, 256 << 10) { Name = name, IsBackground = true }.Start();
    }

    /// <summary>The end to write to.</summary>
    public SafeHandle WriteEnd => _pipe.ClientSafePipeHandle;

    /// <summary>Sees each line that goes through, under the pump's lock; null: nobody.</summary>
    public void Show(Action<string>? take) => Volatile.Write(ref _scanner, take is null ? null : new LineScanner(take));

    /// <summary>Takes what is in the pipe now.</summary>
    public void Drain()
    {
        lock (_lock)
        {
            while (Descriptors.WaitReadable(_pipe.SafePipeHandle, 0))
            {
                Forward(_buffer.AsSpan(0, _pipe.Read(_buffer)));
            }
        }
    }

    private void Run()
    {
        while (true)
        {
            Descriptors.WaitReadable(_pipe.SafePipeHandle, -1);
            Drain();
        }
    }

    /// <summary>After a drop it goes on at the next line: half a line would be read as a whole one.</summary>
    private void Forward(ReadOnlySpan<byte> text)
    {
        Volatile.Read(ref _scanner)?.Scan(text);
        if (_isInsideDropped)
        {
            var end = text.IndexOf((byte)'\n');
            text = end < 0 ? default : text[(end + 1)..];
            _isInsideDropped = end < 0;
        }

        if (text.Length > 0 && !_writer.TryWrite(text.ToArray()))
        {
            _isInsideDropped = text[^1] != (byte)'\n';
        }
    }
}
