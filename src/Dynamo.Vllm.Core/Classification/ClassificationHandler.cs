using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Core.Classification;

/// <summary>The <c>generate</c> endpoint of a classifying worker: prompts in,
/// one item with their classes or vectors out (behaviour.md, 17).</summary>
/// <remarks>Every way out leaves the engine without the request: it ended, failed as a whole, or was taken out of it.</remarks>
public sealed class ClassificationHandler : IEndpointHandler
{
    private readonly IPoolingEngine _engine;
    private readonly string _servedModelName;
    private readonly TimeProvider _time;

    /// <param name="engine">Makes the numbers.</param>
    /// <param name="servedModelName">Named in the answer to a request that names no model.</param>
    /// <param name="time">Of the answers.</param>
    public ClassificationHandler(IPoolingEngine engine, string servedModelName, TimeProvider time)
    {
        _engine = engine;
        _servedModelName = servedModelName;
        _time = time;
    }

    public async Task HandleAsync(RequestContext context, IResponseWriter responses)
    {
        var request = ClassificationRequestParser.Parse(context.Body.Span, context.Codec);
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
            throw new RequestFailedException(DynamoError.EngineShutdown("Engine was shut down during classification."));
        }

        var head = new ClassificationAnswer.Head(
            request.RequestId ?? context.Id,
            _time.GetUtcNow(),
            string.IsNullOrEmpty(request.Model) ? _servedModelName : request.Model
        );
        await responses.WriteAsync(
            request.IsPooling
                ? ClassificationAnswer.WriteVectors(head, vectors, request)
                : ClassificationAnswer.WriteClasses(head, vectors, _engine.Description.Labels)
        );
    }

    /// <summary>The engine would refuse it, too, but only after the interpreter had made objects of all its ids.</summary>
    private static void CheckLengths(ClassificationRequest request, int tokensMax)
    {
        var counts = request.Prompts.TokenCounts;
        for (var i = 0; i < counts.Count && request.TruncatePromptTokens is null; i++)
        {
            if (counts[i] > tokensMax)
            {
                throw new RequestFailedException(
                    DynamoError.InvalidArgument(
                        $"prompt {i} of input holds {counts[i]} token ids, above the limit {tokensMax}, the context of the model"
                    )
                );
            }
        }
    }
}
