namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>The engine's name of a block: opaque, unique per rank and tier while the block is cached.</summary>
public readonly record struct BlockHash(ulong Value);

/// <summary>Hash of a block's tokens and of what else decides its content; routers compute the same one from a prompt.</summary>
public readonly record struct TokensHash(ulong Value);

/// <summary>One stored block. <see cref="Media"/> is null for a block without images.</summary>
public readonly record struct KvBlock(BlockHash Hash, TokensHash Tokens, MediaObject[]? Media);

/// <summary>An image or video of which a part lies in a block.</summary>
/// <param name="Hash">Routing hash that the frontend gave it.</param>
/// <param name="Offsets">Start and end pairs as the engine gave them, flattened; often empty.</param>
public sealed record MediaObject(ulong Hash, long[] Offsets);
