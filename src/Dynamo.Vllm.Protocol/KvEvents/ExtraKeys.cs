using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>Reads the per-block keys that the engine mixed into its own hashes: adapter, media, salt.</summary>
/// <remarks>
/// <code>
/// extra_keys  = [ nil | [ lora: str?, ( [ media: str, offset ] | media: str )*, salt: str?, digest: bin* ] * ]
/// media_infos = [ nil | { "mm_objects": [ { "mm_hash": u64, "offsets": [ [start, end] * ] } * ] } * ]
/// </code>
/// </remarks>
internal static class ExtraKeys
{
    /// <summary>Marks salts that this worker passed to the engine, so that no other key is taken for one.</summary>
    private static ReadOnlySpan<byte> SaltTag => "dynamo-cache-salt:"u8;

    /// <summary>The salt among the keys of the first block, without its tag; empty if there is none.</summary>
    public static ReadOnlySpan<byte> FindSalt(ReadOnlySpan<byte> extraKeys, ReadOnlySpan<byte> loraName)
    {
        var reader = new MessagePackReader(extraKeys);
        if (reader.ReadArrayHeader() == 0 || reader.PeekType() != MessagePackType.Array)
        {
            return [];
        }

        var isLoraSkipped = loraName.IsEmpty;
        var keys = reader.ReadArrayHeader();
        for (var i = 0; i < keys; i++)
        {
            if (reader.PeekType() != MessagePackType.String)
            {
                reader.Skip();
                continue;
            }

            var key = reader.ReadStringBytes();
            if (!isLoraSkipped && key.SequenceEqual(loraName))
            {
                isLoraSkipped = true; // an adapter may be named like a salt; only its own entry is passed over
            }
            else if (key.StartsWith(SaltTag))
            {
                return key[SaltTag.Length..];
            }
        }

        return [];
    }

    /// <summary>Media in the next entry of <c>extra_keys</c>; null if there are none.</summary>
    public static MediaObject[]? ReadMedia(ref MessagePackReader reader)
    {
        if (reader.PeekType() != MessagePackType.Array)
        {
            reader.Skip();
            return null;
        }

        List<MediaObject>? media = null;
        var keys = reader.ReadArrayHeader();
        for (var i = 0; i < keys; i++)
        {
            if (TryReadIdentifier(ref reader, out var hash))
            {
                (media ??= []).Add(new MediaObject(hash, []));
            }
        }

        return media?.ToArray();
    }

    /// <summary>Media in the next entry of <c>block_mm_infos</c>; null if there are none.</summary>
    public static MediaObject[]? ReadMediaInfo(ref MessagePackReader reader)
    {
        if (reader.PeekType() != MessagePackType.Map)
        {
            reader.Skip();
            return null;
        }

        List<MediaObject>? media = null;
        var fields = reader.ReadMapHeader();
        for (var i = 0; i < fields; i++)
        {
            if (!reader.ReadStringBytes().SequenceEqual("mm_objects"u8))
            {
                reader.Skip();
                continue;
            }

            var count = reader.ReadArrayHeader();
            media = [];
            for (var k = 0; k < count; k++)
            {
                media.Add(ReadObject(ref reader));
            }
        }

        return media is { Count: > 0 } ? [.. media] : null;
    }

    private static bool TryReadIdentifier(ref MessagePackReader reader, out ulong hash)
    {
        hash = 0;
        switch (reader.PeekType())
        {
            case MessagePackType.String:
                return MediaPlaceholders.TryParseIdentifier(reader.ReadStringBytes(), out hash);
            case MessagePackType.Array:
                var fields = reader.ReadArrayHeader();
                var isIdentifier = false;
                for (var i = 0; i < fields; i++)
                {
                    if (i == 0 && reader.PeekType() == MessagePackType.String)
                    {
                        isIdentifier = MediaPlaceholders.TryParseIdentifier(reader.ReadStringBytes(), out hash);
                    }
                    else
                    {
                        reader.Skip();
                    }
                }

                return isIdentifier;
            default:
                reader.Skip();
                return false;
        }
    }

    private static MediaObject ReadObject(ref MessagePackReader reader)
    {
        var hash = 0UL;
        long[] offsets = [];
        var fields = reader.ReadMapHeader();
        for (var i = 0; i < fields; i++)
        {
            var key = reader.ReadStringBytes();
            if (key.SequenceEqual("mm_hash"u8))
            {
                hash = reader.ReadHashBits();
            }
            else if (key.SequenceEqual("offsets"u8))
            {
                offsets = ReadOffsets(ref reader);
            }
            else
            {
                reader.Skip();
            }
        }

        return new MediaObject(hash, offsets);
    }

    private static long[] ReadOffsets(ref MessagePackReader reader)
    {
        var count = reader.ReadArrayHeader();
        var offsets = new long[count * 2];
        for (var i = 0; i < count; i++)
        {
            if (reader.ReadArrayHeader() != 2)
            {
                throw new ProtocolException("offsets of a media object are no pairs");
            }

            offsets[i * 2] = reader.ReadInt64();
            offsets[(i * 2) + 1] = reader.ReadInt64();
        }

        return offsets;
    }
}
