using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Multimodal;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>What the roles share: reading the request, refusing what cannot be served, and the life of the engine stream.</summary>
/// <remarks>
/// behaviour.md, 12-15. Every way out of <see cref="HandleAsync"/> leaves the engine without the request: it ended, or it was aborted.
/// </remarks>
public abstract class GenerateHandler : IEndpointHandler
{
    private readonly GenerateOptions _options;
    private readonly AdapterTable? _adapters;

    protected GenerateHandler(IEngine engine, GenerateOptions options, AdapterTable? adapters)
    {
        Engine = engine;
        _options = options;
        _adapters = adapters;
    }

    protected IEngine Engine { get; }

    /// <summary>In traces, in the reference's word.</summary>
    protected virtual string Role => "agg";

    /// <summary>How media are taken; on a decode worker that depends on the request.</summary>
    protected virtual MediaRole MediaRoleOf(PreprocessedRequest request) => MediaRole.Aggregated;

    /// <summary>Fetches media; null unless multimodal processing is enabled.</summary>
    protected MediaLoader? Media => _options.Media;

    /// <summary>Throws where the role would have to use an external encoder result, which none of ours can.</summary>
    protected virtual void CheckEncoderResult(PreprocessedRequest request) =>
        throw new RequestFailedException(
            _options.EnablePromptEmbeds
                ? DynamoError.InvalidArgument("encoder_result: external encoder results are not served by this worker.")
                : DynamoError.Unknown("RuntimeError: text-only CustomEncoder output requires --enable-prompt-embeds")
        );

    public async Task HandleAsync(RequestContext context, IResponseWriter responses)
    {
        var request = Read(context);
        context.ReleaseBody();
        Refuse(request);
        RequestLimits.Check(request, Engine.Description);
        RefuseSchema(request.SamplingOptions.GuidedDecoding?.JsonSchema ?? request.NativeGenerate?.JsonSchema);
        using var use = await AdmitAsync(request.Model, context.Cancelled);
        context.Trace?.BeginEngine(Role, request.Model, context.Id);
        if (await TryLoadMediaAsync(context, request) is (true, var media))
        {
            await ServeAsync(context, request, media, use?.Adapter, responses);
        }
    }

    /// <summary>Decodes the body.</summary>
    protected virtual PreprocessedRequest Read(RequestContext context) => PreprocessedRequestParser.Parse(context.Body.Span, context.Codec);

    /// <summary>Serves a request that was found acceptable.</summary>
    /// <param name="context">The request's life.</param>
    /// <param name="request">What was asked for.</param>
    /// <param name="media">What it shows the engine; null for text alone.</param>
    /// <param name="adapter">What it is served with; null for the base model. Stays loaded until this returns.</param>
    /// <param name="responses">Takes the items.</param>
    protected abstract Task ServeAsync(
        RequestContext context,
        PreprocessedRequest request,
        EngineMedia? media,
        LoadedAdapter? adapter,
        IResponseWriter responses
    );

    /// <summary>The engine request with the rules that all roles share.</summary>
    protected EngineRequest BuildEngineRequest(
        RequestContext context,
        PreprocessedRequest request,
        EngineMedia? media,
        LoadedAdapter? adapter,
        int maxTokens,
        int? minTokens,
        ReadOnlyMemory<byte>? kvTransferParams,
        EngineText? text = null
    ) =>
        new()
        {
            RequestId = context.Id,
            Options = request,
            MaxTokens = maxTokens,
            MinTokens = minTokens,
            UsesPlainDefaults = _options.EnableReinforcementLearning && request.IsTokenIn,
            DataParallelRank = Engine.Description.LocalRank(request.Routing.DataParallelRank),
            KvTransferParamsJson = kvTransferParams,
            KvHintsJson = KvHints(request),
            Adapter = adapter,
            Media = media,
            Text = text,
            TraceHeaders = context.TraceHeaders(),
        };

    /// <summary>Blocks that come from a prefill worker need no hint, and whatever stands there is passed over.</summary>
    protected virtual ReadOnlyMemory<byte>? KvHints(PreprocessedRequest request)
    {
        if (request.KvHintJson is not { } hint || request.KvTransferParamsJson is not null)
        {
            return null;
        }

        KvHintGuard.Check(hint);
        return hint;
    }

    /// <summary>The client's limit, or the room that the context leaves, capped by the model's own default (llm.md, 2.6).</summary>
    protected int ResolveMaxTokens(PreprocessedRequest request)
    {
        if (request.StopConditions.MaxTokens is { } asked)
        {
            return asked;
        }

        var room = Math.Max(1, Engine.Description.MaxModelLength - request.TokenIds.Length);
        return Math.Min(Engine.Description.DefaultMaxTokens ?? room, room);
    }

    /// <summary>False if the caller left meanwhile, so that nothing is to be served.</summary>
    private async ValueTask<(bool, EngineMedia?)> TryLoadMediaAsync(RequestContext context, PreprocessedRequest request)
    {
        if (_options.Media is null || request.Multimodal is null || request.NativeGenerate is not null)
        {
            return (true, null); // a native request brings its own features, and none that are served
        }

        try
        {
            return (true, await _options.Media.LoadAsync(request.Multimodal, MediaRoleOf(request), context.Id, context.Cancelled));
        }
        catch (OperationCanceledException) when (context.IsCallerGone)
        {
            return (false, null);
        }
        catch (OperationCanceledException) when (context.Cause == CancellationCause.Shutdown)
        {
            throw new RequestFailedException(DynamoError.EngineShutdown("The worker was shut down while media were fetched."));
        }
    }

    private void Refuse(PreprocessedRequest request)
    {
        if (request.Multimodal is { IsHarmless: false } && _options.Media is null)
        {
            throw new RequestFailedException(
                DynamoError.InvalidArgument(
                    "Received multimodal data but multimodal processing is not enabled. Use --enable-multimodal flag to enable "
                        + "multimodal processing."
                )
            );
        }

        if (request.HasEncoderResult)
        {
            CheckEncoderResult(request);
        }

        if (!string.IsNullOrEmpty(request.PromptEmbeds) && !_options.EnablePromptEmbeds)
        {
            throw new RequestFailedException(
                DynamoError.InvalidArgument("Invalid prompt_embeds: Set `--enable-prompt-embeds` to allow `prompt_embeds` in request.")
            );
        }

        if (!request.HasTokenIds && string.IsNullOrEmpty(request.PromptEmbeds))
        {
            throw new RequestFailedException(DynamoError.InvalidArgument("token_ids is missing, and so is prompt_embeds"));
        }
    }

    private static void RefuseSchema(ReadOnlyMemory<byte>? json)
    {
        if (json is { } schema && GuidedJsonGuard.FindProblem(schema) is { } problem)
        {
            throw new RequestFailedException(DynamoError.Http(400, problem));
        }
    }

    private async ValueTask<AdapterUse?> AdmitAsync(string? model, CancellationToken cancellationToken)
    {
        if (string.IsNullOrEmpty(model) || _options.BaseModelNames.Contains(model))
        {
            return null;
        }

        var use = _adapters is null ? null : await _adapters.AdmitAsync(model, cancellationToken);
        return use is null && _options.LoraEnabled ? throw AdapterTable.UnknownName(model) : use;
    }
}
