namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>What a router is told.</summary>
public enum RouterEventKind
{
    Stored,
    Removed,
    Cleared,
}

/// <summary>One event for routers, before it has an id. Its blocks are a range of the list that holds it.</summary>
public struct RouterEvent
{
    public RouterEventKind Kind;

    public StorageTier Tier;

    public BlockHash? Parent;

    public int BlockStart;

    public int BlockCount;

    /// <summary>Range of the engine's payload.</summary>
    public ByteRange SessionId;
}
