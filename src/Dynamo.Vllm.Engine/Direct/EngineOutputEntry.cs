using System.Buffers.Text;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>One request's share of a step, as views into its message (docs/protocol/engine-core.md, 5).</summary>
internal ref struct EngineOutputEntry
{
    /// <summary>Positions up to the prefill's statistics, in the release that the templates are taught for.</summary>
    private const int EntriesMin = 12;

    /// <summary>Number of the request's stream, from the end of its id; 0 where there is none.</summary>
    public ulong Stream;

    /// <summary>Valid until the next entry is read.</summary>
    public ReadOnlySpan<int> Tokens;

    public FinishReason Finish;

    /// <summary>MessagePack: the token or the text that ended it; empty for the end of sequence.</summary>
    public ReadOnlySpan<byte> StopReason;

    /// <summary>MessagePack, empty without any: when it was queued, scheduled, preempted.</summary>
    public ReadOnlySpan<byte> Events;

    /// <summary>MessagePack of what the KV connector hands over; empty without any.</summary>
    public ReadOnlySpan<byte> KvTransferParams;

    /// <summary>MessagePack of what its prompt took; empty but in the first output.</summary>
    public ReadOnlySpan<byte> Prefill;

    /// <summary>Position of something that no request of this way asks for; 0 for nothing.</summary>
    public int Surplus;

    public static EngineOutputEntry Read(ReadOnlySpan<byte> body, scoped ref MessagePackReader reader, scoped ref int[] tokens)
    {
        var count = reader.ReadArrayHeader();
        if (count < EntriesMin)
        {
            throw new ProtocolException($"an output of the engine has {count} entries, at least {EntriesMin} are needed");
        }

        var entry = new EngineOutputEntry { Stream = ReadStream(reader.ReadStringBytes()) };
        var tokenCount = reader.ReadArrayHeader();
        if (tokens.Length < tokenCount)
        {
            tokens = new int[tokenCount];
        }

        for (var i = 0; i < tokenCount; i++)
        {
            var token = reader.ReadInt64();
            tokens[i] = token is >= 0 and <= int.MaxValue
                ? (int)token
                : throw new ProtocolException($"token {token} of the engine is not between 0 and {int.MaxValue}");
        }

        entry.Tokens = tokens.AsSpan(0, tokenCount);
        for (var i = 2; i < count; i++)
        {
            if (reader.TryReadNil())
            {
                continue;
            }

            var start = reader.Position;
            if (i == 5)
            {
                entry.Finish = ReadFinish(reader.ReadInt64());
                continue;
            }

            reader.Skip();
            entry.Set(i, body[start..reader.Position]);
        }

        return entry;
    }

    private void Set(int position, ReadOnlySpan<byte> value)
    {
        switch (position)
        {
            case 6:
                StopReason = value;
                break;
            case 7:
                Events = value;
                break;
            case 8:
                KvTransferParams = value;
                break;
            case 11:
                Prefill = value;
                break;
            case 10 or 13 or 16: // trace context, of which nothing is made; a count of NaNs; statistics of speculation
                break;
            default:
                Surplus = position;
                break;
        }
    }

    private static FinishReason ReadFinish(long number) =>
        number switch
        {
            0 => FinishReason.Stop,
            1 => FinishReason.Length,
            2 => FinishReason.Abort,
            3 => FinishReason.Error,
            4 => FinishReason.Repetition,
            _ => FinishReason.Other,
        };

    private static ulong ReadStream(ReadOnlySpan<byte> id)
    {
        var suffix = id[(id.LastIndexOf((byte)'-') + 1)..];
        return Utf8Parser.TryParse(suffix, out ulong stream, out var read, 'x') && read == suffix.Length ? stream : 0;
    }
}
