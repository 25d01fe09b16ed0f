using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Multimodal;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>Decode after a prefill worker: hands the connector's parameters on, and never aborts while blocks are pulled.</summary>
public sealed class DecodeHandler : AggregatedHandler
{
    /// <summary>Annotation of a router that decided to skip the prefill worker.</summary>
    public const string BypassAnnotation = "x-bypass-remote-prefill";

    private static readonly TokenDelta EncoderResultRefused = Refusal(
        "error: external encoder results currently require an aggregated vLLM worker"
    );

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
        EngineMedia? media,
        LoadedAdapter? adapter,
        IResponseWriter responses
    )
    {
        if (request.HasEncoderResult)
        {
            return responses.WriteAsync(EncoderResultRefused).AsTask();
        }

        var problem = IsBypassed(request) ? null : Media?.FindMissingHandOver(request.Multimodal, request.HasPrefillResult);
        return problem is not null
            ? responses.WriteAsync(Refusal(problem)).AsTask()
            : GenerateAsync(context, request, media, adapter, responses, holdAborts: !IsBypassed(request));
    }

    protected override MediaRole MediaRoleOf(PreprocessedRequest request) => IsBypassed(request) ? MediaRole.Aggregated : MediaRole.Decode;

    // An item, not an error, as in the reference: the frontend reads the word and its text.
    private static TokenDelta Refusal(string reason) =>
        new()
        {
            Index = 0,
            IsError = true,
            FinishReason = reason,
        };

    private static bool IsBypassed(PreprocessedRequest request) => request.Annotations.Contains(BypassAnnotation);
}
