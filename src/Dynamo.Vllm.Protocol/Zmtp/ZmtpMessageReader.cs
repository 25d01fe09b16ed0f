using System.Buffers;

namespace Dynamo.Vllm.Protocol.Zmtp;

/// <summary>Takes whole multipart messages off a buffer. Frames are contiguous and valid until the next read. One owner.</summary>
public sealed class ZmtpMessageReader
{
    private const int CopyBytesMin = 64 * 1024;

    private readonly int _framesKept;
    private readonly int _messageBytesMax;
    private readonly ReadOnlyMemory<byte>[] _frames;
    private byte[] _copy = [];
    private int _copied;

    /// <param name="framesKept">Frames that are handed out; further ones are counted only.</param>
    /// <param name="messageBytesMax">Bytes of all frames together.</param>
    public ZmtpMessageReader(int framesKept, int messageBytesMax)
    {
        _framesKept = framesKept;
        _messageBytesMax = messageBytesMax;
        _frames = new ReadOnlyMemory<byte>[framesKept];
    }

    public int FrameCount { get; private set; }

    /// <summary>The one frame is a command of the protocol, no message.</summary>
    public bool IsCommand { get; private set; }

    /// <summary>A frame, or nothing where the message has fewer.</summary>
    public ReadOnlyMemory<byte> Frame(int index) => index < FrameCount && index < _framesKept ? _frames[index] : default;

    /// <summary>Takes the next message. False: it is not complete, and the buffer is as it was.</summary>
    public bool TryRead(ref ReadOnlySequence<byte> buffer)
    {
        FrameCount = 0;
        IsCommand = false;
        _copied = 0;
        var rest = buffer;
        byte flags;
        if (!IsComplete(buffer))
        {
            return false;
        }

        do
        {
            if (!ZmtpCodec.TryReadFrame(ref rest, _messageBytesMax, out flags, out var body))
            {
                return false;
            }

            IsCommand = (flags & ZmtpCodec.Command) != 0;
            if (FrameCount < _framesKept)
            {
                _frames[FrameCount] = body.IsSingleSegment ? body.First : Copy(body);
            }

            FrameCount++;
        } while ((flags & ZmtpCodec.More) != 0 && !IsCommand);

        buffer = rest;
        return true;
    }

    /// <summary>Walks the headers only, so that a long message that arrives in pieces is not copied at each piece.</summary>
    private bool IsComplete(ReadOnlySequence<byte> buffer)
    {
        var start = buffer.Length;
        byte flags;
        do
        {
            if (!ZmtpCodec.TryReadFrame(ref buffer, _messageBytesMax, out flags, out _))
            {
                return start - buffer.Length <= _messageBytesMax ? false : throw TooLarge();
            }
        } while ((flags & ZmtpCodec.More) != 0 && (flags & ZmtpCodec.Command) == 0);

        return start - buffer.Length <= _messageBytesMax + (long)ZmtpCodec.FrameHeaderBytesMax * _framesKept ? true : throw TooLarge();
    }

    private ReadOnlyMemory<byte> Copy(in ReadOnlySequence<byte> body)
    {
        var length = (int)body.Length;
        if (_copy.Length - _copied < length)
        {
            // Frames handed out before stay valid: they keep their old array.
            _copy = new byte[Math.Max(length, CopyBytesMin)];
            _copied = 0;
        }

        var target = _copy.AsMemory(_copied, length);
        body.CopyTo(target.Span);
        _copied += length;
        return target;
    }

    private ProtocolException TooLarge() => new($"ZMTP message is above the limit of {_messageBytesMax} bytes");
}
