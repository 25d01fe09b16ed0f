namespace Dynamo.Vllm.Protocol;

/// <summary>Encoding of request and response bodies; each request names its own (request-plane.md, 1.4).</summary>
public enum PayloadCodec
{
    /// <summary>The default when a request names none.</summary>
    Json,
    MessagePack,
}
