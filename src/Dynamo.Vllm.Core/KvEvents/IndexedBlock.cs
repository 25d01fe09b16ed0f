using Dynamo.Vllm.Protocol.KvEvents;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>A block as routers know it.</summary>
internal struct IndexedBlock
{
    public BlockHash? Parent;

    public TokensHash Tokens;

    public MediaObject[]? Media;

    /// <summary>Stores without a matching removal.</summary>
    public int References;

    /// <summary>Grows with each block that is new.</summary>
    public long Order;
}
