using System.Text;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Google.Protobuf;
using KvBlock = Dynamo.Vllm.Worker.GatewayGrpc.Contract.KvBlock;

namespace Dynamo.Vllm.Worker.GatewayGrpc;

/// <summary>The engine's cache events in the words of the contract, with the engine's own hashes. One per rank and subscription.</summary>
internal sealed class KvEventTranslator
{
    private ulong _lastId;

    /// <param name="told">Takes them.</param>
    /// <param name="batch">Just decoded.</param>
    /// <param name="payload">Out of this.</param>
    /// <exception cref="Protocol.ProtocolException">Keys of a block cannot be read.</exception>
    public void AddTo(KvEventBatch told, EngineEventBatch batch, ReadOnlySpan<byte> payload)
    {
        foreach (ref readonly var entry in batch.Events)
        {
            var translated = new KvCacheEvent { EventId = ++_lastId };
            switch (entry.Kind)
            {
                case EngineEventKind.Stored:
                    translated.Stored = Stored(batch, in entry, payload);
                    break;
                case EngineEventKind.Removed:
                    translated.Removed = Removed(batch, in entry, payload);
                    break;
                case EngineEventKind.Cleared:
                    translated.Cleared = new KvCacheCleared();
                    if (entry.Ownership.IsPresent)
                    {
                        translated.Cleared.Ownership = Text(entry.Ownership, payload);
                    }

                    break;
                default:
                    continue;
            }

            told.Events.Add(translated);
        }
    }

    private static KvBlocksStored Stored(EngineEventBatch batch, in EngineEvent entry, ReadOnlySpan<byte> payload)
    {
        var stored = new KvBlocksStored();
        AddBlocks(stored, batch, in entry, payload);
        if (entry.Parent is { } parent)
        {
            stored.ParentBlockHash = unchecked((long)parent.Value);
        }

        if (entry.Medium.IsPresent)
        {
            stored.Medium = Text(entry.Medium, payload);
            stored.Tier = Tier(entry.Medium.In(payload));
        }

        if (entry.Group is { } group)
        {
            stored.GroupIdx = group;
        }

        if (entry.SpecKind.IsPresent)
        {
            stored.KvCacheSpecKind = Text(entry.SpecKind, payload);
        }

        if (Locality(in entry, payload) is { } locality)
        {
            stored.Locality = locality;
        }

        if (entry.Ownership.IsPresent)
        {
            stored.Ownership = Text(entry.Ownership, payload);
        }

        if (entry.SessionId.IsPresent)
        {
            stored.SessionId = Text(entry.SessionId, payload);
        }

        if (entry.LoraName.IsPresent)
        {
            stored.LoraName = Text(entry.LoraName, payload);
        }

        if (entry.CacheSalt.IsPresent)
        {
            stored.CacheSalt = Text(entry.CacheSalt, payload);
        }

        return stored;
    }

    private static void AddBlocks(KvBlocksStored stored, EngineEventBatch batch, in EngineEvent entry, ReadOnlySpan<byte> payload)
    {
        var hashes = batch.Hashes(in entry);
        var tokens = batch.Tokens(in entry);
        var size = (int)Math.Min(entry.BlockSize, (ulong)tokens.Length);
        var keys = new MessagePackReader(entry.ExtraKeys.IsPresent ? entry.ExtraKeys.In(payload) : []);
        var keyed = entry.ExtraKeys.IsPresent ? keys.ReadArrayHeader() : 0;
        for (var i = 0; i < hashes.Length; i++)
        {
            var block = new KvBlock { BlockHash = unchecked((long)hashes[i]), BlockSize = (int)entry.BlockSize };
            var start = Math.Min((long)i * size, tokens.Length);
            var held = tokens[(int)start..(int)Math.Min(start + size, tokens.Length)];
            block.TokenIds.Capacity = held.Length;
            foreach (var token in held)
            {
                block.TokenIds.Add(token);
            }

            if (i < keyed)
            {
                AddKeys(block, ref keys);
            }

            stored.Blocks.Add(block);
        }
    }

    /// <summary>What the engine mixed into the hash beside the tokens: adapter, media, salt.</summary>
    private static void AddKeys(KvBlock block, ref MessagePackReader keys)
    {
        if (keys.PeekType() != MessagePackType.Array)
        {
            keys.Skip();
            return;
        }

        for (var left = keys.ReadArrayHeader(); left > 0; left--)
        {
            switch (keys.PeekType())
            {
                case MessagePackType.String:
                    block.ExtraKeys.Add(new KvBlockExtraKey { Text = keys.ReadString() });
                    break;
                case MessagePackType.Binary:
                    block.ExtraKeys.Add(new KvBlockExtraKey { Blob = ByteString.CopyFrom(keys.ReadBinary()) });
                    break;
                case MessagePackType.Integer:
                    block.ExtraKeys.Add(new KvBlockExtraKey { Number = keys.ReadInt64() });
                    break;
                case MessagePackType.Array:
                    AddMedium(block, ref keys);
                    break;
                default:
                    keys.Skip();
                    break;
            }
        }
    }

    private static void AddMedium(KvBlock block, ref MessagePackReader keys)
    {
        var fields = keys.ReadArrayHeader();
        var medium = new KvBlockExtraKey.Types.Multimodal();
        for (var i = 0; i < fields; i++)
        {
            switch (keys.PeekType())
            {
                case MessagePackType.String when i == 0:
                    medium.Identifier = keys.ReadString();
                    break;
                case MessagePackType.Integer when i == 1:
                    medium.Offset = keys.ReadInt64();
                    break;
                default:
                    keys.Skip();
                    break;
            }
        }

        block.ExtraKeys.Add(new KvBlockExtraKey { Multimodal = medium });
    }

    private static KvBlocksRemoved Removed(EngineEventBatch batch, in EngineEvent entry, ReadOnlySpan<byte> payload)
    {
        var removed = new KvBlocksRemoved();
        foreach (var hash in batch.Hashes(in entry))
        {
            removed.BlockHashes.Add(unchecked((long)hash));
        }

        if (entry.Medium.IsPresent)
        {
            removed.Medium = Text(entry.Medium, payload);
            removed.Tier = Tier(entry.Medium.In(payload));
        }

        if (entry.Group is { } group)
        {
            removed.GroupIdx = group;
        }

        if (Locality(in entry, payload) is { } locality)
        {
            removed.Locality = locality;
        }

        if (entry.Ownership.IsPresent)
        {
            removed.Ownership = Text(entry.Ownership, payload);
        }

        return removed;
    }

    private static string Text(ByteRange range, ReadOnlySpan<byte> payload) => Encoding.UTF8.GetString(range.In(payload));

    private static KvCacheTier Tier(ReadOnlySpan<byte> medium) =>
        StorageTiers.TryParse(medium, out var tier)
            ? tier switch
            {
                StorageTier.Device => KvCacheTier.Device,
                StorageTier.HostPinned => KvCacheTier.Host,
                StorageTier.Disk => KvCacheTier.Disk,
                _ => KvCacheTier.External,
            }
            : KvCacheTier.Unspecified;

    /// <summary>Where the engine does not say it, what is in the device's memory is here; vLLM's own server for gateways says so.</summary>
    private static KvCacheLocality? Locality(in EngineEvent entry, ReadOnlySpan<byte> payload)
    {
        if (!entry.Locality.IsPresent)
        {
            return entry.Medium.IsPresent && Tier(entry.Medium.In(payload)) == KvCacheTier.Device ? KvCacheLocality.Local : null;
        }

        var word = entry.Locality.In(payload);
        return word.SequenceEqual("LOCAL"u8) ? KvCacheLocality.Local
            : word.SequenceEqual("REMOTE"u8) ? KvCacheLocality.Remote
            : KvCacheLocality.Unspecified;
    }
}
