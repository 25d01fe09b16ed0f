namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>Names of tiers: the engine's media and the routers' words (kv-and-load.md, 4 and 6).</summary>
public static class StorageTiers
{
    public const int Count = 4;

    /// <summary>Maps a medium; an empty one is the device. False: a medium that routers do not know.</summary>
    public static bool TryParse(ReadOnlySpan<byte> medium, out StorageTier tier)
    {
        if (medium.IsEmpty || medium.SequenceEqual("GPU"u8) || medium.SequenceEqual("DEVICE"u8))
        {
            tier = StorageTier.Device;
            return true;
        }

        if (medium.SequenceEqual("CPU"u8) || medium.SequenceEqual("CPU_PINNED"u8) || medium.SequenceEqual("CPU_TIER1"u8))
        {
            tier = StorageTier.HostPinned;
            return true;
        }

        if (
            medium.SequenceEqual("CPU_TIER2"u8)
            || medium.SequenceEqual("DISK"u8)
            || medium.SequenceEqual("NVME"u8)
            || medium.SequenceEqual("STORAGE"u8)
        )
        {
            tier = StorageTier.Disk;
            return true;
        }

        tier = StorageTier.External;
        return medium.SequenceEqual("EXTERNAL"u8)
            || medium.SequenceEqual("NETWORK"u8)
            || medium.SequenceEqual("REMOTE"u8)
            || medium.SequenceEqual("SHARED"u8);
    }

    public static ReadOnlySpan<byte> Name(StorageTier tier) =>
        tier switch
        {
            StorageTier.Device => "device"u8,
            StorageTier.HostPinned => "host_pinned"u8,
            StorageTier.Disk => "disk"u8,
            _ => "external"u8,
        };
}
