using Dynamo.Vllm.Protocol.Multimodal;

namespace Dynamo.Vllm.Core.Multimodal;

/// <summary>Where the bytes of media come from.</summary>
public interface IMediaSource
{
    /// <summary>The bytes of one medium, not decoded.</summary>
    /// <param name="kind">Chooses the limits.</param>
    /// <param name="url">As the client gave it.</param>
    /// <param name="field">Name of the field, for the error.</param>
    /// <param name="scope">Who may share what is fetched, where that is told apart; null for nobody in particular.</param>
    /// <param name="cancellationToken">Ends the fetch.</param>
    /// <exception cref="Protocol.Errors.RequestFailedException">The URL is not allowed, or gives nothing within the limits.</exception>
    Task<ReadOnlyMemory<byte>> FetchAsync(MediaKind kind, string url, string field, string? scope, CancellationToken cancellationToken);
}
