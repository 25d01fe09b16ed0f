namespace Dynamo.Vllm.Protocol.Multimodal;

/// <summary>How a medium comes along.</summary>
public enum MediaForm
{
    /// <summary>To be fetched, or held in the URL itself.</summary>
    Url,

    /// <summary>Decoded by the frontend, to be read out of its memory over NIXL.</summary>
    Decoded,

    /// <summary>Not at all: the engine is expected to have it in its cache under the given id.</summary>
    UuidOnly,
}
