using Dynamo.Vllm.Protocol.ImageEncoding;

namespace Dynamo.Vllm.Core.ImageEncoding;

/// <summary>The encode workers that there are at the moment.</summary>
public interface IEncodeWorkers
{
    /// <summary>Of each image of a request where its embeddings can be taken from; in their order.</summary>
    /// <exception cref="Protocol.Errors.RequestFailedException">An image cannot be used; or no encode worker could be asked.</exception>
    Task<IReadOnlyList<EncodedImage>> EncodeAsync(EncodeRequest request, CancellationToken cancellationToken);
}
