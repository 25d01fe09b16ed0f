using System.Buffers;
using System.Buffers.Binary;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Multimodal;

namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>Body of a token request to <see cref="PreprocessedRequest"/>, in one pass.</summary>
/// <remarks>
/// Unknown keys are skipped and null counts as absent, as in the reference. Every value that would reach the engine is type-checked here:
/// the engine's own process decodes strictly and dies, or goes deaf, on a wrong type (behaviour.md, 12).
/// Golden files: tests/golden/llm/requests.json, wire-frames.json.
/// </remarks>
public static class PreprocessedRequestParser
{
    /// <summary>Reads one body.</summary>
    /// <exception cref="ProtocolException">The message names the field, the value where it is short, and the limit.</exception>
    public static PreprocessedRequest Parse(ReadOnlySpan<byte> body, PayloadCodec codec)
    {
        if (codec == PayloadCodec.MessagePack)
        {
            return Parse(body);
        }

        var packed = new ArrayBufferWriter<byte>(body.Length + 16);
        MessagePackJson.WriteMessagePack(body, packed);
        return Parse(packed.WrittenSpan);
    }

    private static PreprocessedRequest Parse(ReadOnlySpan<byte> body)
    {
        var reader = new MessagePackReader(body);
        if (reader.PeekType() != MessagePackType.Map)
        {
            throw new ProtocolException("request body is not a map");
        }

        var request = new PreprocessedRequest();
        var salts = default(CacheSalts);
        for (var left = reader.ReadMapHeader(); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            if (!reader.TryReadNil())
            {
                ReadField(key, ref reader, request, ref salts);
            }
        }

        request.CacheSalt = salts.First ?? (request.NativeGenerate?.CacheSalt is { Length: > 0 } salt ? salt : null);
        return request;
    }

    private static void ReadField(ReadOnlySpan<byte> key, ref MessagePackReader reader, PreprocessedRequest request, ref CacheSalts salts)
    {
        switch (key)
        {
            case var _ when key.SequenceEqual("token_ids"u8):
                request.HasTokenIds = true;
                request.TokenIds = ReadTokenIds(ref reader);
                break;
            case var _ when key.SequenceEqual("model"u8):
                request.Model = RequestValues.Text(ref reader, "model");
                break;
            case var _ when key.SequenceEqual("prompt_embeds"u8):
                request.PromptEmbeds = RequestValues.Text(ref reader, "prompt_embeds");
                break;
            case var _ when key.SequenceEqual("stop_conditions"u8):
                StopConditionsParser.Read(ref reader, request.StopConditions);
                break;
            case var _ when key.SequenceEqual("sampling_options"u8):
                SamplingOptionsParser.Read(ref reader, request.SamplingOptions, isOverlay: false);
                break;
            case var _ when key.SequenceEqual("output_options"u8):
                ReadOutputOptions(ref reader, request);
                break;
            case var _ when key.SequenceEqual("routing"u8):
                RequestHintsParser.ReadRouting(ref reader, request.Routing);
                break;
            case var _ when key.SequenceEqual("annotations"u8):
                request.Annotations = RequestHintsParser.ReadTexts(ref reader, "annotations");
                break;
            case var _ when key.SequenceEqual("prefill_result"u8):
                ReadPrefillResult(ref reader, request);
                break;
            case var _ when key.SequenceEqual("extra_args"u8):
                ReadExtraArgs(ref reader, request, ref salts);
                break;
            case var _ when key.SequenceEqual("nvext"u8):
                ReadNvext(ref reader, request, ref salts.Outer);
                break;
            default:
                ReadRareField(key, ref reader, request);
                break;
        }
    }

    private static void ReadRareField(ReadOnlySpan<byte> key, ref MessagePackReader reader, PreprocessedRequest request)
    {
        switch (key)
        {
            case var _ when key.SequenceEqual("encoder_result"u8):
                request.HasEncoderResult = true;
                reader.Skip();
                break;
            case var _ when key.SequenceEqual("agent_context"u8):
                request.SessionId = RequestHintsParser.ReadSessionId(ref reader);
                break;
            case var _ when key.SequenceEqual("kv_hint"u8):
                request.KvHintJson = MessagePackJson.ReadAsJson(ref reader, "kv_hint");
                break;
            case var _ when key.SequenceEqual("reasoning_ended"u8):
                request.ReasoningEnded = RequestValues.Boolean(ref reader, "reasoning_ended");
                break;
            case var _ when key.SequenceEqual("reasoning_parser_kwargs"u8):
                request.ReasoningParserKwargsJson = RequestValues.JsonMap(ref reader, "reasoning_parser_kwargs");
                break;
            case var _ when key.SequenceEqual("_HEALTH_CHECK"u8):
                request.IsHealthCheck = RequestValues.Boolean(ref reader, "_HEALTH_CHECK");
                break;
            case var _ when MultimodalInputParser.TryRead(key, ref reader, request):
                break;
            default:
                reader.Skip();
                break;
        }
    }

    private static int[] ReadTokenIds(ref MessagePackReader reader)
    {
        if (reader.PeekType() != MessagePackType.Binary)
        {
            return RequestValues.TokenIds(ref reader, "token_ids");
        }

        var packed = reader.ReadBinary();
        if (packed.Length % 4 != 0)
        {
            throw new ProtocolException($"packed token_ids byte length {packed.Length} is not a multiple of 4");
        }

        var ids = new int[packed.Length / 4];
        for (var i = 0; i < ids.Length; i++)
        {
            ids[i] = BinaryPrimitives.ReadInt32LittleEndian(packed[(4 * i)..]);
        }

        return ids;
    }

    private static void ReadOutputOptions(ref MessagePackReader reader, PreprocessedRequest request)
    {
        for (var left = RequestValues.MapHeader(ref reader, "output_options"); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            if (reader.TryReadNil())
            {
                continue;
            }

            if (key.SequenceEqual("logprobs"u8))
            {
                request.Logprobs = RequestValues.LogprobCount(ref reader) ?? request.Logprobs;
            }
            else if (key.SequenceEqual("prompt_logprobs"u8))
            {
                request.PromptLogprobs = RequestValues.LogprobCount(ref reader) ?? request.PromptLogprobs;
            }
            else
            {
                reader.Skip();
            }
        }
    }

    private static void ReadPrefillResult(ref MessagePackReader reader, PreprocessedRequest request)
    {
        request.HasPrefillResult = true;
        for (var left = RequestValues.MapHeader(ref reader, "prefill_result"); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            if (reader.TryReadNil())
            {
                continue;
            }

            if (key.SequenceEqual("disaggregated_params"u8))
            {
                ReadDisaggregatedParams(ref reader, request);
            }
            else if (key.SequenceEqual("prompt_tokens_details"u8))
            {
                request.PrefillPromptTokensDetailsJson = MessagePackJson.ReadAsJson(ref reader, "prefill_result.prompt_tokens_details");
            }
            else
            {
                reader.Skip();
            }
        }
    }

    private static void ReadDisaggregatedParams(ref MessagePackReader reader, PreprocessedRequest request)
    {
        const string field = "prefill_result.disaggregated_params";
        for (var left = RequestValues.MapHeader(ref reader, field); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            if (reader.TryReadNil())
            {
                continue;
            }

            if (key.SequenceEqual("kv_transfer_params"u8))
            {
                request.KvTransferParamsJson = RequestValues.JsonMap(ref reader, field + ".kv_transfer_params");
            }
            else if (key.SequenceEqual("embedding_params"u8))
            {
                MultimodalInputParser.ReadEmbeddingParams(ref reader, request, field + ".embedding_params");
            }
            else
            {
                reader.Skip();
            }
        }
    }

    private static void ReadExtraArgs(ref MessagePackReader reader, PreprocessedRequest request, ref CacheSalts salts)
    {
        for (var left = RequestValues.MapHeader(ref reader, "extra_args"); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            if (reader.TryReadNil())
            {
                continue;
            }

            switch (key)
            {
                case var _ when key.SequenceEqual("sampling_options"u8):
                    SamplingOptionsParser.Read(ref reader, request.SamplingOptions, isOverlay: true);
                    break;
                case var _ when key.SequenceEqual("nvext"u8):
                    ReadNvext(ref reader, request, ref salts.Extra);
                    break;
                case var _ when key.SequenceEqual("vllm_tito"u8):
                    request.NativeGenerate = NativeGenerateParser.Read(ref reader);
                    break;
                case var _ when MultimodalInputParser.TryReadExtra(key, ref reader, request):
                    break;
                case var _ when key.SequenceEqual("skip_reading_prefix_cache"u8):
                    // Read in any case: what is left of a value would be taken for the next key.
                    var skips = RequestValues.Boolean(ref reader, "extra_args.skip_reading_prefix_cache");
                    request.SamplingOptions.SkipReadingPrefixCache ??= skips;
                    break;
                case var _ when key.SequenceEqual("reasoning_ended"u8):
                    var ended = RequestValues.Boolean(ref reader, "extra_args.reasoning_ended");
                    request.ReasoningEnded ??= ended;
                    break;
                case var _ when key.SequenceEqual("reasoning_parser_kwargs"u8):
                    var kwargs = RequestValues.JsonMap(ref reader, "extra_args.reasoning_parser_kwargs");
                    request.ReasoningParserKwargsJson ??= kwargs;
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }
    }

    private static void ReadNvext(ref MessagePackReader reader, PreprocessedRequest request, ref string? salt)
    {
        for (var left = RequestValues.MapHeader(ref reader, "nvext"); left > 0; left--)
        {
            var key = reader.ReadStringBytes();
            if (reader.TryReadNil())
            {
                continue;
            }

            switch (key)
            {
                case var _ when key.SequenceEqual("cache_salt"u8):
                    salt = RequestValues.Text(ref reader, "nvext.cache_salt");
                    break;
                case var _ when key.SequenceEqual("extra_fields"u8):
                    request.WantsEngineData |= RequestHintsParser.ReadTexts(ref reader, "nvext.extra_fields").Contains("engine_data");
                    break;
                case var _ when key.SequenceEqual("token_data"u8) || key.SequenceEqual("token_in"u8):
                    request.IsTokenIn |= RequestValues.IsTrue(ref reader);
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }
    }

    private ref struct CacheSalts
    {
        public string? Outer;
        public string? Extra;

        public readonly string? First =>
            !string.IsNullOrEmpty(Outer) ? Outer
            : !string.IsNullOrEmpty(Extra) ? Extra
            : null;
    }
}
