using System.Threading.Channels;

namespace Dynamo.Vllm.UnitTests.Transports;

/// <summary>A caller's socket within the test: keeps each write by itself and hears what the test says.</summary>
/// <param name="keepsWrites">False: what is written is forgotten, and nothing is allocated for it.</param>
internal sealed class CallerStream(bool keepsWrites = true) : Stream
{
    private readonly Channel<byte[]> _said = Channel.CreateUnbounded<byte[]>(); // as much as the test says

    private byte[] _rest = [];

    /// <summary>One entry a write.</summary>
    public List<byte[]> Writes { get; } = [];

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public void Say(byte[] bytes) => _said.Writer.TryWrite(bytes);

    /// <summary>The caller closes.</summary>
    public void End() => _said.Writer.TryComplete();

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (_rest.Length == 0)
        {
            if (!await _said.Reader.WaitToReadAsync(cancellationToken) || !_said.Reader.TryRead(out var said))
            {
                return 0;
            }

            _rest = said;
        }

        var count = Math.Min(buffer.Length, _rest.Length);
        _rest.AsSpan(0, count).CopyTo(buffer.Span);
        _rest = _rest[count..];
        return count;
    }

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (keepsWrites)
        {
            Writes.Add(buffer.ToArray());
        }

        return ValueTask.CompletedTask;
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Flush()
    {
        // Nothing is held back.
    }

    protected override void Dispose(bool disposing)
    {
        End();
        base.Dispose(disposing);
    }
}
