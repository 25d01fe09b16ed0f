using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.Engine.Guest;

/// <summary>Reads the records of one batch, which lie back to back (wire.py).
/// The guest is ours: a wrong record is a bug, not bad input.</summary>
internal ref struct GuestRecordReader
{
    private readonly ReadOnlySpan<byte> _batch;
    private int _position;

    public GuestRecordReader(ReadOnlySpan<byte> batch) => _batch = batch;

    public readonly bool End => _position >= _batch.Length;

    public GuestRecordKind ReadKind() => (GuestRecordKind)_batch[_position];

    /// <summary><c>BBBx I Q i i I</c>, tokens, then candidates, extras and text as the flags say.</summary>
    public TokensRecord ReadTokens()
    {
        var head = Take(28);
        var record = new TokensRecord
        {
            Flags = (TokensFlags)head[1],
            Finish = (FinishReason)head[2],
            Index = BinaryPrimitives.ReadInt32LittleEndian(head[4..]),
            Stream = BinaryPrimitives.ReadUInt64LittleEndian(head[8..]),
            PromptTokens = BinaryPrimitives.ReadInt32LittleEndian(head[16..]),
            CachedTokens = BinaryPrimitives.ReadInt32LittleEndian(head[20..]),
        };
        var count = BinaryPrimitives.ReadInt32LittleEndian(head[24..]);
        // Both ends are the same little-endian machine.
        record.Tokens = MemoryMarshal.Cast<byte, int>(Take(count * sizeof(int)));
        if (record.Has(TokensFlags.Logprobs))
        {
            var start = _position;
            for (var i = 0; i < count; i++)
            {
                var candidates = BinaryPrimitives.ReadInt32LittleEndian(Take(4));
                Take(candidates * 16);
            }

            record.Candidates = _batch[start.._position];
        }

        if (record.Has(TokensFlags.Extras))
        {
            record.Extras = Take(BinaryPrimitives.ReadInt32LittleEndian(Take(4)));
        }

        if (record.Has(TokensFlags.Text))
        {
            record.Text = Take(BinaryPrimitives.ReadInt32LittleEndian(Take(4)));
        }

        return record;
    }

    /// <summary><c>Bxxx I</c>, streams (<c>Q</c>), tokens (<c>i</c>): one more token for each stream.</summary>
    public StepTokens ReadStep()
    {
        var count = BinaryPrimitives.ReadInt32LittleEndian(Take(8)[4..]);
        return new StepTokens(
            MemoryMarshal.Cast<byte, ulong>(Take(count * sizeof(ulong))),
            MemoryMarshal.Cast<byte, int>(Take(count * sizeof(int)))
        );
    }

    /// <summary><c>Bxxx I Q Q</c>, for each prompt its bytes (<c>I</c>), then its rows (<c>i</c>), then the numbers back to back.</summary>
    public (ulong Id, PromptVectors Vectors) ReadVectors()
    {
        var head = Take(24);
        var count = BinaryPrimitives.ReadInt32LittleEndian(head[4..]);
        var lengths = MemoryMarshal.Cast<byte, int>(Take(count * sizeof(int))).ToArray();
        var rows = MemoryMarshal.Cast<byte, int>(Take(count * sizeof(int))).ToArray();
        var bytes = 0;
        foreach (var length in lengths)
        {
            bytes += length;
        }

        var vectors = new PromptVectors(
            Take(bytes).ToArray(), // the batch is given back before anybody has read them
            lengths,
            rows,
            BinaryPrimitives.ReadInt64LittleEndian(head[16..])
        );
        return (BinaryPrimitives.ReadUInt64LittleEndian(head[8..]), vectors);
    }

    /// <summary><c>B Q B I</c> and JSON: a failure or a reply.</summary>
    public (ulong Id, bool Ok, byte[] Json) ReadText()
    {
        var head = Take(14);
        var json = Take(BinaryPrimitives.ReadInt32LittleEndian(head[10..])).ToArray();
        return (BinaryPrimitives.ReadUInt64LittleEndian(head[1..]), head[9] != 0, json);
    }

    /// <summary><c>B B I I</c>, name and message.</summary>
    public (int Level, string Name, string Message) ReadLog()
    {
        var head = Take(10);
        var name = Take(BinaryPrimitives.ReadInt32LittleEndian(head[2..]));
        var message = Take(BinaryPrimitives.ReadInt32LittleEndian(head[6..]));
        return (head[1], System.Text.Encoding.UTF8.GetString(name), System.Text.Encoding.UTF8.GetString(message));
    }

    /// <summary><c>Bxxx I d d I I</c>.</summary>
    public (EngineLoad Load, double SampledAt) ReadStats()
    {
        var head = Take(32);
        var load = new EngineLoad(
            BinaryPrimitives.ReadInt32LittleEndian(head[4..]),
            BinaryPrimitives.ReadDoubleLittleEndian(head[16..]),
            BinaryPrimitives.ReadInt32LittleEndian(head[24..]),
            BinaryPrimitives.ReadInt32LittleEndian(head[28..])
        );
        return (load, BinaryPrimitives.ReadDoubleLittleEndian(head[8..]));
    }

    /// <summary><c>B I I</c> and UTF-8.</summary>
    public (int Token, byte[] Utf8) ReadTokenText()
    {
        var head = Take(9);
        var text = Take(BinaryPrimitives.ReadInt32LittleEndian(head[5..])).ToArray();
        return (BinaryPrimitives.ReadInt32LittleEndian(head[1..]), text);
    }

    /// <summary><c>Bxxxxxxx I I Q Q</c>.</summary>
    public FetchProgress ReadProgress()
    {
        var head = Take(32);
        return new FetchProgress(
            BinaryPrimitives.ReadInt32LittleEndian(head[8..]),
            BinaryPrimitives.ReadInt32LittleEndian(head[12..]),
            BinaryPrimitives.ReadInt64LittleEndian(head[16..]),
            BinaryPrimitives.ReadInt64LittleEndian(head[24..])
        );
    }

    /// <summary><c>Bxxx I I I</c>, JSON, then the encoded request.</summary>
    public GuestTemplate ReadTemplate()
    {
        var head = Take(16);
        var json = Take(BinaryPrimitives.ReadInt32LittleEndian(head[8..])).ToArray();
        var encoded = Take(BinaryPrimitives.ReadInt32LittleEndian(head[12..])).ToArray();
        return new GuestTemplate(BinaryPrimitives.ReadInt32LittleEndian(head[4..]), json, encoded);
    }

    private ReadOnlySpan<byte> Take(int bytes)
    {
        var slice = _batch.Slice(_position, bytes);
        _position += bytes;
        return slice;
    }
}
