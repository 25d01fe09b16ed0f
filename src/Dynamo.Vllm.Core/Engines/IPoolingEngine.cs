using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Core.Engines;

/// <summary>An engine that makes vectors of prompts instead of continuing them. Thread-safe; no member blocks.</summary>
public interface IPoolingEngine
{
    /// <summary>Valid once the engine has started.</summary>
    EngineDescription Description { get; }

    /// <summary>The vectors of all prompts of a request, which the engine may compute together.</summary>
    /// <param name="requestId">Context id of the request; need not be unique.</param>
    /// <param name="request">What was asked for.</param>
    /// <param name="cancellationToken">Gives up at once, and takes the prompts out of the engine.</param>
    /// <exception cref="Protocol.Errors.RequestFailedException">One of
    /// them failed, then none is computed any more; or the engine is gone.</exception>
    Task<PromptVectors> EncodeAsync(string requestId, EmbeddingRequest request, CancellationToken cancellationToken);

    /// <summary>As the other, with what the model is for, or what was asked for, instead of embeddings.</summary>
    Task<PromptVectors> EncodeAsync(string requestId, ClassificationRequest request, CancellationToken cancellationToken);
}
