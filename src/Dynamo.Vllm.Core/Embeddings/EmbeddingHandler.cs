using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Core.Embeddings;

/// <summary>The <c>generate</c> endpoint of an embedding worker: prompts in, one item with their vectors out (behaviour.md, 17).</summary>
/// <remarks>Every way out leaves the engine without the request: it ended, failed as a whole, or was taken out of it.</remarks>
public sealed class EmbeddingHandler : IEndpointHandler
{
    private readonly IPoolingEngine _engine;
    private readonly string _servedModelName;

    /// <param name="engine">Makes the vectors.</param>
    /// <param name="servedModelName">Named in the answer to a request that names no model.</param>
    public EmbeddingHandler(IPoolingEngine engine, string servedModelName)
    {
        _engine = engine;
        _servedModelName = servedModelName;
    }

    public async Task HandleAsync(RequestContext context, IResponseWriter responses)
    {
        var request = EmbeddingRequestParser.Parse(context.Body.Span, context.Codec);
        context.ReleaseBody();
        CheckLengths(request, _engine.Description.MaxModelLength);
        PromptVectors vectors;
        try
        {
            vectors = await _engine.EncodeAsync(context.Id, request, context.Cancelled);
        }
        catch (OperationCanceledException) when (context.IsCallerGone)
        {
            return;
        }
        catch (OperationCanceledException) when (context.Cause == CancellationCause.Shutdown)
        {
            throw new RequestFailedException(DynamoError.EngineShutdown("Engine was shut down during embedding."));
        }

        CheckDimensions(vectors, request.Dimensions);
        await responses.WriteAsync(Write(vectors, request));
    }

    /// <summary>The engine would refuse it, too, but only after the interpreter had made objects of all its ids.</summary>
    private static void CheckLengths(EmbeddingRequest request, int tokensMax)
    {
        var counts = request.Prompts.TokenCounts;
        for (var i = 0; i < counts.Count; i++)
        {
            if (counts[i] > tokensMax)
            {
                var field = request.IsPreprocessed ? "token_ids" : "input";
                throw new RequestFailedException(
                    DynamoError.InvalidArgument(
                        $"prompt {i} of {field} holds {counts[i]} token ids, above the limit {tokensMax}, the context of the model"
                    )
                );
            }
        }
    }

    private ReadOnlyMemory<byte> Write(PromptVectors vectors, EmbeddingRequest request) =>
        request.IsPreprocessed
            ? EmbeddingAnswer.WritePreprocessed(vectors)
            : EmbeddingAnswer.Write(vectors, string.IsNullOrEmpty(request.Model) ? _servedModelName : request.Model);

    /// <summary>A model that was only said to allow other lengths gives its own where more is asked for.</summary>
    private static void CheckDimensions(PromptVectors vectors, int? dimensions)
    {
        for (var i = 0; i < vectors.Count; i++)
        {
            var length = vectors[i].Length / sizeof(float);
            if (length < dimensions)
            {
                throw new RequestFailedException(
                    DynamoError.InvalidArgument($"dimensions is {dimensions}, above the limit {length}, the length of the model's vectors")
                );
            }
        }
    }
}
