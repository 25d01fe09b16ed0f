namespace Dynamo.Vllm.Protocol.Multimodal;

/// <summary>One medium of a request, in the order of the message.</summary>
/// <param name="Form">How it comes along.</param>
/// <param name="Url">The URL of <see cref="MediaForm.Url"/>; null otherwise.</param>
public sealed record MediaItem(MediaForm Form, string? Url = null);
