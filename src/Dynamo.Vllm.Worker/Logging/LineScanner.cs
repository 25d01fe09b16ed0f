using System.Text;

namespace Dynamo.Vllm.Worker.Logging;

/// <summary>Cuts what goes through a pipe into lines, for somebody who only looks on. Parts of progress bars, which return to the begin of
/// their line, are lines, too.</summary>
/// <remarks>One caller at a time.</remarks>
internal sealed class LineScanner
{
    /// <summary>In bytes; the rest of a longer line is left out.</summary>
    private const int LineLengthMax = 1024;

    private readonly Action<string> _take;
    private readonly byte[] _line = new byte[LineLengthMax];
    private int _length;

    /// <param name="take">Takes each line that is not empty. Must not wait or throw: output of the whole worker waits meanwhile.</param>
    public LineScanner(Action<string> take) => _take = take;

    public void Scan(ReadOnlySpan<byte> text)
    {
        while (text.Length > 0)
        {
            var end = text.IndexOfAny((byte)'\n', (byte)'\r');
            var part = end < 0 ? text : text[..end];
            var kept = part[..Math.Min(part.Length, LineLengthMax - _length)];
            kept.CopyTo(_line.AsSpan(_length));
            _length += kept.Length;
            if (end < 0)
            {
                return;
            }

            if (_length > 0)
            {
                _take(Encoding.UTF8.GetString(_line, 0, _length));
                _length = 0;
            }

            text = text[(end + 1)..];
        }
    }
}
