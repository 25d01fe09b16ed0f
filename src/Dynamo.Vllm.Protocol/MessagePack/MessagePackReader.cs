using System.Buffers.Binary;
using System.Text;

namespace Dynamo.Vllm.Protocol.MessagePack;

/// <summary>Forward-only reader over one MessagePack value; never allocates except for strings that are asked for.</summary>
/// <remarks>
/// Every length is checked against what is left before it is used, so a lying header cannot make a caller allocate.
/// Golden files: tests/golden/llm/wire-frames.json, tests/golden/runtime/tcp_request.bin.
/// </remarks>
public ref struct MessagePackReader
{
    private readonly ReadOnlySpan<byte> _data;
    private int _position;

    public MessagePackReader(ReadOnlySpan<byte> data)
    {
        _data = data;
        _position = 0;
    }

    /// <summary>Offset of the next unread byte.</summary>
    public readonly int Position => _position;

    public readonly bool End => _position >= _data.Length;

    /// <summary>Kind of the next value, without consuming it.</summary>
    public readonly MessagePackType PeekType()
    {
        var code = PeekByte();
        return code switch
        {
            <= 0x7f or >= 0xe0 => MessagePackType.Integer,
            <= 0x8f => MessagePackType.Map,
            <= 0x9f => MessagePackType.Array,
            <= 0xbf => MessagePackType.String,
            0xc0 => MessagePackType.Nil,
            0xc2 or 0xc3 => MessagePackType.Boolean,
            0xc4 or 0xc5 or 0xc6 => MessagePackType.Binary,
            0xc7 or 0xc8 or 0xc9 or (>= 0xd4 and <= 0xd8) => MessagePackType.Extension,
            0xca or 0xcb => MessagePackType.Float,
            >= 0xcc and <= 0xd3 => MessagePackType.Integer,
            0xd9 or 0xda or 0xdb => MessagePackType.String,
            0xdc or 0xdd => MessagePackType.Array,
            0xde or 0xdf => MessagePackType.Map,
            _ => throw new ProtocolException($"MessagePack byte 0x{code:x2} at offset {_position} starts no value"),
        };
    }

    public bool TryReadNil()
    {
        if (PeekByte() != 0xc0)
        {
            return false;
        }

        _position++;
        return true;
    }

    public bool ReadBoolean()
    {
        var code = TakeByte();
        return code switch
        {
            0xc2 => false,
            0xc3 => true,
            _ => throw Unexpected("a boolean", code),
        };
    }

    /// <summary>An integer in any of its forms, or a float without fraction, which lenient peers send for integers.</summary>
    public long ReadInt64()
    {
        var code = TakeByte();
        switch (code)
        {
            case <= 0x7f:
                return code;
            case >= 0xe0:
                return (sbyte)code;
            case 0xcc:
                return Take(1)[0];
            case 0xcd:
                return BinaryPrimitives.ReadUInt16BigEndian(Take(2));
            case 0xce:
                return BinaryPrimitives.ReadUInt32BigEndian(Take(4));
            case 0xcf:
                var unsigned = BinaryPrimitives.ReadUInt64BigEndian(Take(8));
                return unsigned <= long.MaxValue
                    ? (long)unsigned
                    : throw new ProtocolException($"integer {unsigned} is above the limit {long.MaxValue}");
            case 0xd0:
                return (sbyte)Take(1)[0];
            case 0xd1:
                return BinaryPrimitives.ReadInt16BigEndian(Take(2));
            case 0xd2:
                return BinaryPrimitives.ReadInt32BigEndian(Take(4));
            case 0xd3:
                return BinaryPrimitives.ReadInt64BigEndian(Take(8));
            case 0xca or 0xcb:
                _position--;
                return ToInteger(ReadDouble());
            default:
                throw Unexpected("an integer", code);
        }
    }

    public ulong ReadUInt64()
    {
        if (PeekByte() == 0xcf)
        {
            _position++;
            return BinaryPrimitives.ReadUInt64BigEndian(Take(8));
        }

        var value = ReadInt64();
        return value >= 0 ? (ulong)value : throw new ProtocolException($"integer {value} is below the limit 0");
    }

    /// <summary>The bit pattern of a 64-bit integer, signed or not: hashes come in both forms.</summary>
    public ulong ReadHashBits() => PeekByte() == 0xcf ? ReadUInt64() : unchecked((ulong)ReadInt64());

    /// <summary>Integers of 0 to 2^32 - 1, as many as <paramref name="values"/>
    /// has room for. Token lists are the bulk of what is read.</summary>
    public void ReadUInt32s(Span<uint> values)
    {
        var data = _data;
        var position = _position;
        for (var i = 0; i < values.Length; i++)
        {
            var left = data.Length - position;
            var code = left > 0 ? data[position] : (byte)0xc1;
            if (code <= 0x7f && left > 0)
            {
                values[i] = code;
                position++;
            }
            else if (code == 0xcd && left >= 3)
            {
                values[i] = BinaryPrimitives.ReadUInt16BigEndian(data[(position + 1)..]);
                position += 3;
            }
            else if (code == 0xce && left >= 5)
            {
                values[i] = BinaryPrimitives.ReadUInt32BigEndian(data[(position + 1)..]);
                position += 5;
            }
            else
            {
                // Every rarer form, and every fault.
                _position = position;
                var value = ReadUInt64();
                values[i] =
                    value <= uint.MaxValue
                        ? (uint)value
                        : throw new ProtocolException($"integer {value} is above the limit {uint.MaxValue}");
                position = _position;
            }
        }

        _position = position;
    }

    /// <summary>A float, or an integer, which is a valid way to write a whole number.</summary>
    public double ReadDouble()
    {
        var code = TakeByte();
        switch (code)
        {
            case 0xca:
                return BinaryPrimitives.ReadSingleBigEndian(Take(4));
            case 0xcb:
                return BinaryPrimitives.ReadDoubleBigEndian(Take(8));
            default:
                _position--;
                return PeekType() == MessagePackType.Integer ? ReadIntegerAsDouble(code) : throw Unexpected("a number", code);
        }
    }

    public int ReadArrayHeader()
    {
        var code = TakeByte();
        var count = code switch
        {
            >= 0x90 and <= 0x9f => code & 0x0fu,
            0xdc => BinaryPrimitives.ReadUInt16BigEndian(Take(2)),
            0xdd => BinaryPrimitives.ReadUInt32BigEndian(Take(4)),
            _ => throw Unexpected("an array", code),
        };
        return CheckCount(count, bytesPerEntryMin: 1);
    }

    public int ReadMapHeader()
    {
        var code = TakeByte();
        var count = code switch
        {
            >= 0x80 and <= 0x8f => code & 0x0fu,
            0xde => BinaryPrimitives.ReadUInt16BigEndian(Take(2)),
            0xdf => BinaryPrimitives.ReadUInt32BigEndian(Take(4)),
            _ => throw Unexpected("a map", code),
        };
        return CheckCount(count, bytesPerEntryMin: 2);
    }

    /// <summary>UTF-8 bytes of a string; valid as long as the buffer is.</summary>
    public ReadOnlySpan<byte> ReadStringBytes()
    {
        var code = TakeByte();
        var length = code switch
        {
            >= 0xa0 and <= 0xbf => code & 0x1fu,
            0xd9 => Take(1)[0],
            0xda => BinaryPrimitives.ReadUInt16BigEndian(Take(2)),
            0xdb => BinaryPrimitives.ReadUInt32BigEndian(Take(4)),
            _ => throw Unexpected("a string", code),
        };
        return Take(length);
    }

    public string ReadString() => Encoding.UTF8.GetString(ReadStringBytes());

    /// <summary>Bytes of a binary value; valid as long as the buffer is.</summary>
    public ReadOnlySpan<byte> ReadBinary()
    {
        var code = TakeByte();
        var length = code switch
        {
            0xc4 => Take(1)[0],
            0xc5 => BinaryPrimitives.ReadUInt16BigEndian(Take(2)),
            0xc6 => BinaryPrimitives.ReadUInt32BigEndian(Take(4)),
            _ => throw Unexpected("binary data", code),
        };
        return Take(length);
    }

    /// <summary>Skips the next value with all it contains, without recursion.</summary>
    public void Skip()
    {
        long pending = 1;
        while (pending > 0)
        {
            pending--;
            switch (PeekType())
            {
                case MessagePackType.Map:
                    pending += 2L * ReadMapHeader();
                    break;
                case MessagePackType.Array:
                    pending += ReadArrayHeader();
                    break;
                case MessagePackType.String:
                    ReadStringBytes();
                    break;
                case MessagePackType.Binary:
                    ReadBinary();
                    break;
                case MessagePackType.Extension:
                    SkipExtension();
                    break;
                default:
                    SkipScalar();
                    break;
            }
        }
    }

    private static long ToInteger(double value) =>
        Math.Floor(value) == value && Math.Abs(value) <= 9007199254740992.0
            ? (long)value
            : throw new ProtocolException("a number with a fraction stands where an integer must be");

    private double ReadIntegerAsDouble(byte code) => code == 0xcf ? ReadUInt64() : ReadInt64();

    private void SkipScalar()
    {
        var size = TakeByte() switch
        {
            0xcc or 0xd0 => 1,
            0xcd or 0xd1 => 2,
            0xca or 0xce or 0xd2 => 4,
            0xcb or 0xcf or 0xd3 => 8,
            _ => 0,
        };
        Take((uint)size);
    }

    private void SkipExtension()
    {
        var code = TakeByte();
        var length = code switch
        {
            0xd4 => 1u,
            0xd5 => 2u,
            0xd6 => 4u,
            0xd7 => 8u,
            0xd8 => 16u,
            0xc7 => Take(1)[0],
            0xc8 => BinaryPrimitives.ReadUInt16BigEndian(Take(2)),
            _ => BinaryPrimitives.ReadUInt32BigEndian(Take(4)),
        };
        Take(1);
        Take(length);
    }

    private readonly int CheckCount(uint count, int bytesPerEntryMin)
    {
        // Each entry takes at least this many bytes, so a larger count is a lie and must not size anything.
        var countMax = (_data.Length - _position) / bytesPerEntryMin;
        return count <= countMax
            ? (int)count
            : throw new ProtocolException($"MessagePack header at offset {_position} claims {count} entries, only {countMax} can follow");
    }

    private readonly byte PeekByte() =>
        _position < _data.Length ? _data[_position] : throw new ProtocolException($"MessagePack value ends early at offset {_position}");

    private byte TakeByte()
    {
        var value = PeekByte();
        _position++;
        return value;
    }

    private ReadOnlySpan<byte> Take(uint length)
    {
        if (length > (uint)(_data.Length - _position))
        {
            throw new ProtocolException($"MessagePack value of {length} bytes at offset {_position} ends after {_data.Length - _position}");
        }

        var slice = _data.Slice(_position, (int)length);
        _position += (int)length;
        return slice;
    }

    private readonly ProtocolException Unexpected(string wanted, byte code) =>
        new($"MessagePack byte 0x{code:x2} at offset {_position - 1} stands where {wanted} must be");
}
