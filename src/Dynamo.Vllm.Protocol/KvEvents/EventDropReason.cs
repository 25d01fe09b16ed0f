namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>Why an engine event did not become a router event.</summary>
public enum EventDropReason
{
    /// <summary>Blocks of a secondary tier that another component owns.</summary>
    Owned,

    /// <summary>The engine says that the event means nothing.</summary>
    Ignored,

    /// <summary>Blocks on another host.</summary>
    Remote,

    /// <summary>A medium that routers do not know.</summary>
    UnknownMedium,

    /// <summary>Blocks of a cache group that prefixes cannot be matched on.</summary>
    NotMainAttention,

    /// <summary>The parent was stored under two cache salts.</summary>
    AmbiguousSalt,

    /// <summary>The event names a block twice, or its own parent.</summary>
    DuplicateBlock,
}
