using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Multimodal;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>Prefill and decode in one engine: the default role, and what a decode worker does without a prefill result.</summary>
public class AggregatedHandler : GenerateHandler
{
    private readonly IFirstTokenSink? _firstTokens;

    public AggregatedHandler(IEngine engine, GenerateOptions options, AdapterTable? adapters, IFirstTokenSink? firstTokens)
        : base(engine, options, adapters) => _firstTokens = firstTokens;

    protected override Task ServeAsync(
        RequestContext context,
        PreprocessedRequest request,
        EngineMedia? media,
        LoadedAdapter? adapter,
        IResponseWriter responses
    ) => GenerateAsync(context, request, media, adapter, responses, holdAborts: false);

    /// <summary>Runs the request and streams its items.</summary>
    protected async Task GenerateAsync(
        RequestContext context,
        PreprocessedRequest request,
        EngineMedia? media,
        LoadedAdapter? adapter,
        IResponseWriter responses,
        bool holdAborts
    )
    {
        // Whatever the role: an engine without a connector ignores them.
        var kvTransferParams = request.KvTransferParamsJson;
        var engineRequest = BuildEngineRequest(
            context,
            request,
            media,
            adapter,
            ResolveMaxTokens(request),
            request.StopConditions.MinTokens,
            kvTransferParams
        );
        if (context.IsCallerGone && kvTransferParams is null)
        {
            return; // with blocks staged at a prefill worker it still runs: only the pull releases them there
        }

        var stream = Engine.Submit(engineRequest);
        var guard = new AbortGuard(stream, holdAborts);
        var builder = new DeltaBuilder(request, hasTransferredKv: kvTransferParams is not null, hasPrefillResult: request.HasPrefillResult);
        var isFirst = true;
        await EngineStreamPump.RunAsync(
            context,
            stream,
            guard,
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

                if (request.NativeGenerate is null) // whose clients know the word
                {
                    EngineStreamPump.RefuseAbort(context, output);
                }

                return builder.Build(output) is { } delta ? responses.WriteAsync(delta) : ValueTask.CompletedTask;
            }
        );
    }
}
