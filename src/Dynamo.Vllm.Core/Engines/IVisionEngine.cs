using Dynamo.Vllm.Protocol.ImageEncoding;

namespace Dynamo.Vllm.Core.Engines;

/// <summary>An engine that makes embeddings of images, for another worker to take. Thread-safe; no member blocks.</summary>
public interface IVisionEngine
{
    /// <summary>Of each image where its embeddings can be taken from, for a while; in their order.</summary>
    /// <param name="images">Not decoded.</param>
    /// <param name="scope">Who may share what is kept of them; null for nobody in particular.</param>
    /// <param name="cancellationToken">Gives up at once. What was offered already is withdrawn when nobody takes it.</param>
    /// <exception cref="Protocol.Errors.RequestFailedException">An image cannot be used; or the engine is gone.</exception>
    Task<IReadOnlyList<EncodedImage>> EncodeImagesAsync(
        IReadOnlyList<ReadOnlyMemory<byte>> images,
        string? scope,
        CancellationToken cancellationToken
    );
}
