using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace Dynamo.Vllm.Protocol.MessagePack;

/// <summary>Writes MessagePack in the forms that the reference peer writes: integers in their shortest form, floats as float64.</summary>
/// <remarks>Golden files: tests/golden/llm/wire-frames.json, tests/golden/runtime/tcp_response.bin.</remarks>
public readonly ref struct MessagePackWriter
{
    private readonly IBufferWriter<byte> _output;

    public MessagePackWriter(IBufferWriter<byte> output) => _output = output;

    public void WriteNil() => WriteByte(0xc0);

    public void WriteBoolean(bool value) => WriteByte(value ? (byte)0xc3 : (byte)0xc2);

    public void WriteMapHeader(int count) => WriteHeader((uint)count, 0x80, 0xde);

    public void WriteArrayHeader(int count) => WriteHeader((uint)count, 0x90, 0xdc);

    public void WriteInteger(long value)
    {
        if (value >= 0)
        {
            WriteInteger((ulong)value);
            return;
        }

        var span = _output.GetSpan(9);
        switch (value)
        {
            case >= -32:
                span[0] = (byte)value;
                _output.Advance(1);
                break;
            case >= sbyte.MinValue:
                span[0] = 0xd0;
                span[1] = (byte)value;
                _output.Advance(2);
                break;
            case >= short.MinValue:
                span[0] = 0xd1;
                BinaryPrimitives.WriteInt16BigEndian(span[1..], (short)value);
                _output.Advance(3);
                break;
            case >= int.MinValue:
                span[0] = 0xd2;
                BinaryPrimitives.WriteInt32BigEndian(span[1..], (int)value);
                _output.Advance(5);
                break;
            default:
                span[0] = 0xd3;
                BinaryPrimitives.WriteInt64BigEndian(span[1..], value);
                _output.Advance(9);
                break;
        }
    }

    public void WriteInteger(ulong value)
    {
        var span = _output.GetSpan(9);
        switch (value)
        {
            case <= 0x7f:
                span[0] = (byte)value;
                _output.Advance(1);
                break;
            case <= byte.MaxValue:
                span[0] = 0xcc;
                span[1] = (byte)value;
                _output.Advance(2);
                break;
            case <= ushort.MaxValue:
                span[0] = 0xcd;
                BinaryPrimitives.WriteUInt16BigEndian(span[1..], (ushort)value);
                _output.Advance(3);
                break;
            case <= uint.MaxValue:
                span[0] = 0xce;
                BinaryPrimitives.WriteUInt32BigEndian(span[1..], (uint)value);
                _output.Advance(5);
                break;
            default:
                span[0] = 0xcf;
                BinaryPrimitives.WriteUInt64BigEndian(span[1..], value);
                _output.Advance(9);
                break;
        }
    }

    public void WriteDouble(double value)
    {
        var span = _output.GetSpan(9);
        span[0] = 0xcb;
        BinaryPrimitives.WriteDoubleBigEndian(span[1..], value);
        _output.Advance(9);
    }

    /// <summary>A string that is UTF-8 already, such as a <c>u8</c> literal.</summary>
    public void WriteString(ReadOnlySpan<byte> utf8)
    {
        WriteStringHeader(utf8.Length);
        _output.Write(utf8);
    }

    public void WriteString(string value)
    {
        var length = Encoding.UTF8.GetByteCount(value);
        WriteStringHeader(length);
        Encoding.UTF8.GetBytes(value, _output.GetSpan(length));
        _output.Advance(length);
    }

    public void WriteBinary(ReadOnlySpan<byte> value)
    {
        var span = _output.GetSpan(5);
        switch (value.Length)
        {
            case <= byte.MaxValue:
                span[0] = 0xc4;
                span[1] = (byte)value.Length;
                _output.Advance(2);
                break;
            case <= ushort.MaxValue:
                span[0] = 0xc5;
                BinaryPrimitives.WriteUInt16BigEndian(span[1..], (ushort)value.Length);
                _output.Advance(3);
                break;
            default:
                span[0] = 0xc6;
                BinaryPrimitives.WriteUInt32BigEndian(span[1..], (uint)value.Length);
                _output.Advance(5);
                break;
        }

        _output.Write(value);
    }

    private void WriteStringHeader(int length)
    {
        var span = _output.GetSpan(5);
        switch (length)
        {
            case <= 31:
                span[0] = (byte)(0xa0 | length);
                _output.Advance(1);
                break;
            case <= byte.MaxValue:
                span[0] = 0xd9;
                span[1] = (byte)length;
                _output.Advance(2);
                break;
            case <= ushort.MaxValue:
                span[0] = 0xda;
                BinaryPrimitives.WriteUInt16BigEndian(span[1..], (ushort)length);
                _output.Advance(3);
                break;
            default:
                span[0] = 0xdb;
                BinaryPrimitives.WriteUInt32BigEndian(span[1..], (uint)length);
                _output.Advance(5);
                break;
        }
    }

    private void WriteHeader(uint count, byte fix, byte wide)
    {
        var span = _output.GetSpan(5);
        switch (count)
        {
            case <= 15:
                span[0] = (byte)(fix | count);
                _output.Advance(1);
                break;
            case <= ushort.MaxValue:
                span[0] = wide;
                BinaryPrimitives.WriteUInt16BigEndian(span[1..], (ushort)count);
                _output.Advance(3);
                break;
            default:
                span[0] = (byte)(wide + 1);
                BinaryPrimitives.WriteUInt32BigEndian(span[1..], count);
                _output.Advance(5);
                break;
        }
    }

    private void WriteByte(byte value)
    {
        _output.GetSpan(1)[0] = value;
        _output.Advance(1);
    }
}
