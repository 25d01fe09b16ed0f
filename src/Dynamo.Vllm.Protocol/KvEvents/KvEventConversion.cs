namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>What the conversion needs to know about the engine.</summary>
/// <param name="BlockSize">Tokens per block of the main attention group; the same number as in the model card.</param>
/// <param name="ImageToken">Placeholder of images, where the model has one.</param>
/// <param name="VideoToken">Placeholder of videos, where the model has one.</param>
public sealed record KvEventConversion(int BlockSize, uint? ImageToken = null, uint? VideoToken = null);
