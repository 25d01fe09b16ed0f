using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>Decode after a prefill worker: hands the connector's parameters on, and never aborts while blocks are pulled.</summary>
public sealed class DecodeHandler : AggregatedHandler
{
    /// <summary>Annotation of a router that decided to skip the prefill worker.</summary>
    public const string BypassAnnotation = "x-bypass-remote-prefill";

    // An item, not an error, as in the reference: the frontend reads the word and its text.
    private static readonly TokenDelta EncoderResultRefused = new()
    {
        Index = 0,
        IsError = true,
        FinishReason = "error: external encoder results currently require an aggregated vLLM worker",
    };

    public DecodeHandler(IEngine engine, GenerateOptions options, AdapterTable? adapters, IFirstTokenSink? firstTokens)
        : base(engine, options, adapters, firstTokens) { }

    protected override string Role => "decode";

    protected override void CheckEncoderResult(PreprocessedRequest request)
    {
        if (IsBypassed(request))
        {
            base.CheckEncoderResult(request);
        }
    }

    protected override Task ServeAsync(
        RequestContext context,
        PreprocessedRequest request,
        LoadedAdapter? adapter,
        IResponseWriter responses
    ) =>
        request.HasEncoderResult
            ? responses.WriteAsync(EncoderResultRefused).AsTask()
            : GenerateAsync(context, request, adapter, responses, holdAborts: !IsBypassed(request));

    private static bool IsBypassed(PreprocessedRequest request) => request.Annotations.Contains(BypassAnnotation);
}
