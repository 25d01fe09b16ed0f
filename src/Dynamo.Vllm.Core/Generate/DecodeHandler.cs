using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>Decode after a prefill worker: hands the connector's parameters on, and never aborts while blocks are pulled.</summary>
public sealed class DecodeHandler : AggregatedHandler
{
    /// <summary>Annotation of a router that decided to skip the prefill worker.</summary>
    public const string BypassAnnotation = "x-bypass-remote-prefill";

    public DecodeHandler(IEngine engine, GenerateOptions options, IAdapterTable? adapters, IFirstTokenSink? firstTokens)
        : base(engine, options, adapters, firstTokens)
    {
    }

    protected override Task ServeAsync(RequestContext context, PreprocessedRequest request, IResponseWriter responses)
    {
        var isBypassed = request.Annotations.Contains(BypassAnnotation);
        return GenerateAsync(context, request, responses, isBypassed ? null : request.KvTransferParamsJson, holdAborts: !isBypassed);
    }
}
