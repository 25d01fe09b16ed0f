namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>What an engine's cache event says.</summary>
public enum EngineEventKind
{
    Stored,
    Removed,
    Cleared,

    /// <summary>A legal event that means nothing here.</summary>
    Ignored,
}

/// <summary>One cache event of the engine. Texts are ranges of the payload, lists are ranges of the batch's own buffers.</summary>
public struct EngineEvent
{
    public EngineEventKind Kind;

    public int HashStart;

    public int HashCount;

    public BlockHash? Parent;

    public int TokenStart;

    public int TokenCount;

    /// <summary>Tokens came as pairs and are flattened: a block is hashed with the first token of the next one.</summary>
    public bool AreBigrams;

    public ulong BlockSize;

    public uint? Group;

    public ByteRange Medium;

    public ByteRange LoraName;

    public ByteRange CacheSalt;

    public ByteRange SpecKind;

    public ByteRange Locality;

    public ByteRange Ownership;

    public ByteRange SessionId;

    /// <summary>One encoded value: an array with an entry per block.</summary>
    public ByteRange ExtraKeys;

    /// <summary>One encoded value: an array with an entry per block.</summary>
    public ByteRange MediaInfos;
}
