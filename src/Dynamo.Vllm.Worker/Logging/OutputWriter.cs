namespace Dynamo.Vllm.Worker.Logging;

/// <summary>Text on its way to a reader that may be slow, stuck or gone: a bounded
/// queue, and a thread of its own that alone waits for the reader.</summary>
/// <remarks>Members are thread-safe and never wait, except <see cref="Flush"/>. A full queue
/// drops what comes and counts its lines; the next text that fits says how many.</remarks>
internal sealed class OutputWriter : IDisposable
{
    /// <summary>Some 15,000 lines: more than a start writes at once while its reader is slow, less than anybody misses as memory.</summary>
    public const int QueueBytesMax = 2 << 20;

    private readonly Action<ReadOnlyMemory<byte>> _write;
    private readonly int _queueBytesMax;
    private readonly Lock _lock = new();
    private readonly Queue<(byte[] Text, long DroppedBefore)> _queue = new();
    private readonly AutoResetEvent _added = new(false);
    private readonly ManualResetEventSlim _written = new(true);
    private long _queuedBytes;
    private long _droppedLines;
    private long _unreportedLines;
    private volatile bool _isDisposed;

    /// <param name="name">Of the thread.</param>
    /// <param name="write">Writes all of it; may wait for ever. An <see cref="IOException"/> counts the text as dropped.</param>
    /// <param name="queueBytesMax">Bytes that may wait.</param>
    public OutputWriter(string name, Action<ReadOnlyMemory<byte>> write, int queueBytesMax = QueueBytesMax)
    {
        _write = write;
        _queueBytesMax = queueBytesMax;

        // Background: a reader that never comes must not keep the process alive.
        new Thread(Run, 256 << 10) { Name = name, IsBackground = true }.Start();
    }

    /// <summary>How the number of dropped lines is said, as a line. Set before there is much to say.</summary>
    public Func<long, byte[]> Notice { get; set; } =
        lines => System.Text.Encoding.UTF8.GetBytes($"{lines} lines of output were dropped because nobody read them in time\n");

    public long DroppedLines => Interlocked.Read(ref _droppedLines);

    /// <summary>Queues the text, which must not change any more. False if it was dropped.</summary>
    public bool TryWrite(byte[] text)
    {
        lock (_lock)
        {
            if (_queuedBytes + text.Length > _queueBytesMax)
            {
                CountDropped(text);
                return false;
            }

            _queue.Enqueue((text, _unreportedLines));
            _unreportedLines = 0;
            _queuedBytes += text.Length;
            _written.Reset();
        }

        _added.Set();
        return true;
    }

    /// <summary>Waits until everything has reached the reader, or the limit has passed.</summary>
    public bool Flush(TimeSpan limit) => _written.Wait(limit);

    /// <summary>Ends the thread once it has written what is there.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        _added.Set();
    }

    private void Run()
    {
        while (true)
        {
            if (!TryTake(out var next))
            {
                if (_isDisposed)
                {
                    return;
                }

                _added.WaitOne();
                continue;
            }

            if (next.DroppedBefore > 0)
            {
                TryWriteOut(Notice(next.DroppedBefore));
            }

            TryWriteOut(next.Text);
            lock (_lock)
            {
                _queuedBytes -= next.Text.Length;
            }
        }
    }

    private bool TryTake(out (byte[] Text, long DroppedBefore) next)
    {
        lock (_lock)
        {
            if (_queue.TryDequeue(out next))
            {
                return true;
            }

            _written.Set();
            return false;
        }
    }

    private void TryWriteOut(byte[] text)
    {
        try
        {
            _write(text);
        }
        catch (IOException)
        {
            // The reader is gone or the disk is full: there is no other place to say so, but the next line may arrive.
            lock (_lock)
            {
                CountDropped(text);
            }
        }
    }

    private void CountDropped(byte[] text)
    {
        var lines = Math.Max(1, text.AsSpan().Count((byte)'\n'));
        Interlocked.Add(ref _droppedLines, lines);
        _unreportedLines += lines;
    }
}
