using System.Buffers;
using System.Text.Json;
using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Disaggregation;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Multimodal;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>Prefill for a decode worker: one token, and the connector's hand-over (behaviour.md, 14).</summary>
/// <remarks>The reply has neither index nor finish reason. A health probe asks for no hand-over, so that no blocks stay held.</remarks>
public sealed class PrefillHandler : GenerateHandler
{
    private readonly IKvConnectorProtocol _connector;
    private readonly HandOverLedger? _ledger;

    public PrefillHandler(
        IEngine engine,
        GenerateOptions options,
        AdapterTable? adapters,
        IKvConnectorProtocol connector,
        HandOverLedger? ledger
    )
        : base(engine, options, adapters)
    {
        _connector = connector;
        _ledger = ledger;
    }

    protected override string Role => "prefill";

    protected override MediaRole MediaRoleOf(PreprocessedRequest request) => MediaRole.Prefill;

    /// <summary>Nothing: what becomes of it is the decode side's to say.</summary>
    protected override void CheckEncoderResult(PreprocessedRequest request) { }

    /// <summary>A prefill worker takes every hint.</summary>
    protected override ReadOnlyMemory<byte>? KvHints(PreprocessedRequest request)
    {
        if (request.KvHintJson is { } hint)
        {
            KvHintGuard.Check(hint);
        }

        return request.KvHintJson;
    }

    protected override async Task ServeAsync(
        RequestContext context,
        PreprocessedRequest request,
        EngineMedia? media,
        LoadedAdapter? adapter,
        IResponseWriter responses
    )
    {
        var handOver = request.IsHealthCheck ? null : _connector.Begin();
        // Every choice would hold blocks of its own, and the decode side pulls those of one: the others would stay until their lease ends.
        request.SamplingOptions.N = null;
        // The decode side's, too: what a prefill needs of it the frontend has put into the options.
        request.NativeGenerate = null;
        var engineRequest = BuildEngineRequest(context, request, media, adapter, maxTokens: 1, minTokens: 1, handOver?.EngineParamsJson);
        if (context.IsCallerGone)
        {
            return;
        }

        var stream = Engine.Submit(engineRequest);
        var usage = new DeltaBuilder(request, hasTransferredKv: false, hasPrefillResult: false);
        var delta = new TokenDelta();
        ReadOnlyMemory<byte>? result = null;
        ReadOnlyMemory<byte>? embeddings = null;
        await EngineStreamPump.RunAsync(context, stream, new AbortGuard(stream, holdUntilFirstOutput: false), WriteAsync, Observe);

        void Observe(EngineOutput output)
        {
            result = handOver?.Complete(output.KvTransferParamsJson);
            embeddings = handOver is null ? null : output.EmbeddingParamsJson;
            var hasFailed = output.Finish is FinishReason.Abort or FinishReason.NoOutputs or FinishReason.Error;
            if (handOver is { HoldsBlocks: true } && result is not null && !hasFailed)
            {
                _ledger?.Add(); // from here on the engine holds them, whether or not the caller is still there to learn of it
            }
        }

        ValueTask WriteAsync(EngineOutput output)
        {
            if (output.Tokens.IsEmpty && output.Finish is FinishReason.Abort)
            {
                return ValueTask.CompletedTask;
            }

            if (output.Finish is FinishReason.NoOutputs or FinishReason.Error)
            {
                throw new RequestFailedException(DynamoError.Unknown("the engine failed to prefill the request"));
            }

            delta.Clear();
            delta.TokenIds = output.Tokens;
            delta.DisaggregatedParamsJson = Wrap(result, embeddings);
            delta.Usage = usage.Count(output);
            delta.EngineDataJson = CacheHit(output);
            return responses.WriteAsync(delta);
        }
    }

    private static ReadOnlyMemory<byte> Wrap(ReadOnlyMemory<byte>? kvTransferParams, ReadOnlyMemory<byte>? embeddingParams)
    {
        if (kvTransferParams is null && embeddingParams is null)
        {
            return "null"u8.ToArray();
        }

        var buffer = new ArrayBufferWriter<byte>((kvTransferParams?.Length ?? 0) + (embeddingParams?.Length ?? 0) + 64);
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            WriteRaw(json, "kv_transfer_params"u8, kvTransferParams);
            WriteRaw(json, "embedding_params"u8, embeddingParams);
            json.WriteEndObject();
        }

        return buffer.WrittenMemory;

        static void WriteRaw(Utf8JsonWriter json, ReadOnlySpan<byte> name, ReadOnlyMemory<byte>? value)
        {
            if (value is { } text)
            {
                json.WritePropertyName(name);
                json.WriteRawValue(text.Span, skipInputValidation: true);
            }
        }
    }

    private static ReadOnlyMemory<byte> CacheHit(EngineOutput output)
    {
        var buffer = new ArrayBufferWriter<byte>(64);
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            DeltaBuilder.WriteCacheHit(json, output);
            json.WriteEndObject();
        }

        return buffer.WrittenMemory;
    }
}
