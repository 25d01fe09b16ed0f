namespace Dynamo.Vllm.Protocol.Multimodal;

/// <summary>What a medium is, by the part of the message that it came in.</summary>
public enum MediaKind
{
    Image,
    Video,
    Audio,
}
