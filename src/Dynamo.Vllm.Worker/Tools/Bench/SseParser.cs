namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>Server-sent events out of a stream of bytes, however that is cut into packets.</summary>
/// <remarks>
/// <code>
/// event = *( field end-of-line ) end-of-line      end-of-line = CR LF / LF / CR
/// field = "data:" [ " " ] value / "event:" [ " " ] value / ":" comment / others, which are skipped
/// </code>
/// Several <c>data</c> fields are joined by LF. An event that the end of the stream cuts is none. One caller.
/// </remarks>
internal sealed class SseParser
{
    /// <summary>Of a line, and of the data of an event: more than any token takes, with its log probabilities.</summary>
    public const int EventBytesMax = 1 << 20;

    private byte[] _buffer = new byte[16 << 10];
    private byte[] _data = new byte[4 << 10];
    private int _begin;
    private int _end;
    private int _scanned;
    private int _dataLength;
    private bool _hasData;
    private bool _isAfterCarriageReturn;
    private string? _name;

    /// <summary>Where the next bytes of the stream go; tell how many came with <see cref="Advance"/>.</summary>
    /// <exception cref="FormatException">A line is longer than its limit.</exception>
    public Memory<byte> Space()
    {
        if (_begin > 0)
        {
            _buffer.AsSpan(_begin, _end - _begin).CopyTo(_buffer);
            (_begin, _end, _scanned) = (0, _end - _begin, _scanned - _begin);
        }

        if (_end == _buffer.Length)
        {
            if (_buffer.Length >= EventBytesMax)
            {
                throw new FormatException($"a line of the stream is longer than {EventBytesMax} bytes");
            }

            Array.Resize(ref _buffer, _buffer.Length * 2);
        }

        return _buffer.AsMemory(_end);
    }

    public void Advance(int bytes) => _end += bytes;

    /// <summary>The next event that is whole.</summary>
    /// <param name="streamEvent">Valid until the parser is used again.</param>
    /// <exception cref="FormatException">It is longer than its limit.</exception>
    public bool TryRead(out SseEvent streamEvent)
    {
        while (TryReadLine(out var line))
        {
            if (line.Length > 0)
            {
                Take(line);
            }
            else if (_hasData || _name is not null)
            {
                streamEvent = new SseEvent(_name, _data.AsMemory(0, _dataLength));
                (_name, _dataLength, _hasData) = (null, 0, false);
                return true;
            }
        }

        streamEvent = default;
        return false;
    }

    private bool TryReadLine(out ReadOnlySpan<byte> line)
    {
        if (_isAfterCarriageReturn && _begin < _end)
        {
            _isAfterCarriageReturn = false;
            if (_buffer[_begin] == (byte)'\n')
            {
                _begin++;
            }
        }

        _scanned = Math.Max(_scanned, _begin);
        var length = _buffer.AsSpan(_scanned, _end - _scanned).IndexOfAny((byte)'\n', (byte)'\r');
        if (length < 0)
        {
            _scanned = _end;
            line = default;
            return false;
        }

        var end = _scanned + length;
        line = _buffer.AsSpan(_begin, end - _begin);
        _isAfterCarriageReturn = _buffer[end] == (byte)'\r';
        _begin = _scanned = end + 1;
        return true;
    }

    private void Take(ReadOnlySpan<byte> line)
    {
        if (line.StartsWith("data:"u8))
        {
            AddData(Value(line["data:".Length..]));
        }
        else if (line.StartsWith("event:"u8))
        {
            _name = System.Text.Encoding.UTF8.GetString(Value(line["event:".Length..]));
        }
        else if (line[0] == (byte)':' && _name is "error" && !_hasData)
        {
            AddData(Value(line[1..])); // an error without data may have its reason here
        }
    }

    private void AddData(ReadOnlySpan<byte> value)
    {
        var length = _dataLength + value.Length + (_hasData ? 1 : 0);
        if (length > EventBytesMax)
        {
            throw new FormatException($"an event of the stream is longer than {EventBytesMax} bytes");
        }

        if (length > _data.Length)
        {
            Array.Resize(ref _data, Math.Min(EventBytesMax, Math.Max(length, _data.Length * 2)));
        }

        if (_hasData)
        {
            _data[_dataLength++] = (byte)'\n';
        }

        value.CopyTo(_data.AsSpan(_dataLength));
        _dataLength += value.Length;
        _hasData = true;
    }

    private static ReadOnlySpan<byte> Value(ReadOnlySpan<byte> text) => text is [(byte)' ', .. var rest] ? rest : text;
}
