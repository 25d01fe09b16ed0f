using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Generate;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.Core.TextGeneration;

/// <summary>The <c>generate</c> endpoint of a worker that takes text: the
/// client's body in, chunks of OpenAI's streams out (behaviour.md, 17).</summary>
/// <remarks>Every way out leaves the engine without the request: it ended, or it was aborted.</remarks>
public sealed class TextHandler : IEndpointHandler
{
    // An item, not an error, as in the reference: the frontend reads the word and its text.
    private static readonly TokenDelta EncoderResultRefused = new()
    {
        Index = 0,
        IsError = true,
        FinishReason = "error: external encoder results require token-in/token-out mode",
    };

    private readonly ITextEngine _engine;
    private readonly bool _isDecodeWorker;
    private readonly IFirstTokenSink? _firstTokens;
    private readonly TimeProvider _time;

    /// <param name="engine">Tokenizes, and makes text of tokens.</param>
    /// <param name="isDecodeWorker">Its engine may pull blocks, and must not be disturbed before the first output.</param>
    /// <param name="firstTokens">Hears of the first tokens of requests that a router placed.</param>
    /// <param name="time">Of the chunks.</param>
    public TextHandler(ITextEngine engine, bool isDecodeWorker, IFirstTokenSink? firstTokens, TimeProvider time)
    {
        _engine = engine;
        _isDecodeWorker = isDecodeWorker;
        _firstTokens = firstTokens;
        _time = time;
    }

    public async Task HandleAsync(RequestContext context, IResponseWriter responses)
    {
        var request = TextRequestParser.Parse(context.Body.Span, context.Codec);
        context.ReleaseBody();
        if (request.HasEncoderResult)
        {
            await responses.WriteAsync(EncoderResultRefused);
            return;
        }

        RequestLimits.CheckPrompt(request.Prompt.TokenIds.Length, _engine.Description.MaxModelLength);
        if (context.IsCallerGone)
        {
            return;
        }

        context.Trace?.BeginEngine(_isDecodeWorker ? "decode" : "agg", model: null, context.Id);
        var stream = _engine.Submit(
            new TextEngineRequest
            {
                RequestId = context.Id,
                Options = request,
                DataParallelRank = _engine.Description.LocalRank(request.Routing.DataParallelRank),
                TraceHeaders = context.TraceHeaders(),
            }
        );
        await StreamAsync(context, request, stream, responses);
    }

    private Task StreamAsync(RequestContext context, TextRequest request, IEngineStream stream, IResponseWriter responses)
    {
        var holdsAborts = _isDecodeWorker && !request.Annotations.Contains(DecodeHandler.BypassAnnotation);
        var writer = new TextChunkWriter(request.Id ?? context.Id, request.Prompt.IsCompletion);
        var isFirst = true;
        return EngineStreamPump.RunAsync(
            context,
            stream,
            new AbortGuard(stream, holdsAborts),
            output =>
            {
                if (isFirst && !output.Tokens.IsEmpty)
                {
                    isFirst = false;
                    if (request.Routing.DataParallelRank is { } rank)
                    {
                        _firstTokens?.NotifyFirstToken(context.Id, rank);
                    }
                }

                EngineStreamPump.RefuseAbort(context, output);
                return context.Cause == CancellationCause.Shutdown && output.Finish == FinishReason.Abort
                    ? ValueTask.CompletedTask // the error that follows says what happened
                    : responses.WriteAsync(writer.Write(output, FinishWord(output), _time.GetUtcNow()));
            }
        );
    }

    /// <summary>Null while the choice goes on. An end that OpenAI has no word for
    /// would break the frontend's stream: it is an error.</summary>
    private static string? FinishWord(EngineOutput output) =>
        output.Finish switch
        {
            FinishReason.None => null,
            FinishReason.NoOutputs => throw new RequestFailedException(DynamoError.Unknown("No outputs from vLLM engine")),
            FinishReason.Stop or FinishReason.Length or FinishReason.Repetition => DeltaBuilder.Word(output),
            _ => throw new RequestFailedException(DynamoError.Unknown($"the engine ended the choice with '{DeltaBuilder.Word(output)}'")),
        };
}
