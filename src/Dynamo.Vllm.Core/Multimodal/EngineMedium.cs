using Dynamo.Vllm.Protocol.Multimodal;

namespace Dynamo.Vllm.Core.Multimodal;

/// <summary>One medium for the engine.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Bytes">Not decoded; null for one that the engine is expected to have.</param>
public sealed record EngineMedium(MediaKind Kind, ReadOnlyMemory<byte>? Bytes);
