namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>Where a block lies.</summary>
public enum StorageTier
{
    Device,
    HostPinned,
    Disk,
    External,
}
