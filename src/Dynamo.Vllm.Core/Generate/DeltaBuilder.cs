using System.Buffers;
using System.Text.Json;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>Engine outputs to response items, with the usage and engine data that the reference adds (behaviour.md, 13).</summary>
/// <remarks>One per request; reuses one <see cref="TokenDelta"/>. Not thread-safe.</remarks>
internal sealed class DeltaBuilder
{
    private static readonly ReadOnlyMemory<byte> JsonNull = "null"u8.ToArray();

    private readonly PreprocessedRequest _request;
    private readonly bool _hasTransferredKv;
    private readonly bool _hasPrefillResult;
    private readonly TokenDelta _delta = new();
    private readonly bool _collects;
    private ChoiceState[] _choices = [default];
    private int _completionTokens;
    private readonly int _choicesMax;
    private (int? Prompt, int? Cached) _counts;
    private bool _hasCounts;
    private ReadOnlyMemory<byte>? _promptLogprobs;

    /// <param name="request">The request.</param>
    /// <param name="hasTransferredKv">Its KV blocks came from a prefill worker, so cache hits mean nothing.</param>
    /// <param name="hasPrefillResult">The usage details are those of the prefill worker.</param>
    public DeltaBuilder(PreprocessedRequest request, bool hasTransferredKv, bool hasPrefillResult)
    {
        _request = request;
        _hasTransferredKv = hasTransferredKv;
        _hasPrefillResult = hasPrefillResult;
        _collects = request.WantsEngineData;
        _choicesMax = Math.Max(1, request.NativeGenerate?.N ?? request.SamplingOptions.N ?? 1);
    }

    /// <summary>The item for an output, or null if there is nothing to say. Valid until the next call.</summary>
    public TokenDelta? Build(EngineOutput output)
    {
        if (output.Finish == FinishReason.NoOutputs)
        {
            _delta.Clear();
            _delta.Index = 0;
            _delta.FinishReason = "error: No outputs from vLLM engine";
            _delta.IsError = true;
            return _delta;
        }

        _promptLogprobs ??= output.PromptLogprobsJson;
        if (output.Tokens.IsEmpty && output.Finish == FinishReason.None && output.StopReasonJson is null)
        {
            return null;
        }

        ref var choice = ref ChoiceAt(output.Index);
        _completionTokens += output.Tokens.Length;
        choice.TokenCount += output.Tokens.Length;
        _delta.Clear();
        _delta.Index = output.Index;
        _delta.TokenIds = output.Tokens;
        _delta.Logprobs = output.Tokens.IsEmpty ? null : output.Logprobs;
        if (_collects)
        {
            choice.Collect(output);
        }

        var isFinish = output.Finish != FinishReason.None;
        var counts = Counts(output);
        if (isFinish || choice.Counted != counts)
        {
            choice.Counted = counts;
            _delta.Usage = Usage(counts);
        }

        if (isFinish)
        {
            _delta.FinishReason = Word(output);
            _delta.IsError = IsError(output);
            _delta.EngineDataJson = EngineData(output, choice);
        }

        _delta.StopReasonJson = output.StopReasonJson;
        return _delta;
    }

    /// <summary>The usage that an output stands for, without an item.</summary>
    public CompletionUsage Count(EngineOutput output)
    {
        ChoiceAt(output.Index);
        _completionTokens += output.Tokens.Length;
        return Usage(Counts(output));
    }

    /// <summary>Prompt tokens, and those of them that were cached.</summary>
    /// <remarks>
    /// Of several choices the later ones find what the first has just cached, so only the first count says what was cached before; and with
    /// each choice's own count the usage would depend on the order in which they end, as it does in the reference.
    /// </remarks>
    private (int? Prompt, int? Cached) Counts(EngineOutput output)
    {
        if (!_hasCounts || _choicesMax == 1)
        {
            _hasCounts = true;
            _counts = (output.PromptTokens, output.CachedTokens);
        }

        return _counts;
    }

    private CompletionUsage Usage((int? Prompt, int? Cached) counts)
    {
        ReadOnlyMemory<byte>? details = null;
        if (_hasPrefillResult)
        {
            details = _request.PrefillPromptTokensDetailsJson ?? JsonNull;
        }

        return new(counts.Prompt, _completionTokens, counts.Cached, details);
    }

    // An end of a kind that this worker does not know, and has no word for, is written as an error, too.
    private static bool IsError(EngineOutput output) =>
        output.Finish is not (FinishReason.Stop or FinishReason.Length or FinishReason.Abort or FinishReason.Repetition)
        && output.FinishText is null or "error";

    internal static string Word(EngineOutput output) =>
        output.Finish switch
        {
            FinishReason.Stop => "stop",
            FinishReason.Length => "length",
            FinishReason.Abort => "cancelled",
            // The frontend cannot read this word (behaviour.md, 13): the text was cut because it repeated itself, so it ends like a limit.
            FinishReason.Repetition => "length",
            FinishReason.Error => "error",
            _ => output.FinishText ?? "error",
        };

    private ref ChoiceState ChoiceAt(int index)
    {
        if (index < 0 || index >= _choicesMax)
        {
            throw new RequestFailedException(DynamoError.Unknown($"engine gave choice {index} of {_choicesMax}"));
        }

        if (index >= _choices.Length)
        {
            Array.Resize(ref _choices, _choicesMax);
        }

        return ref _choices[index];
    }

    private ReadOnlyMemory<byte>? EngineData(EngineOutput output, in ChoiceState choice)
    {
        var hasHit = _choicesMax == 1 && !_hasTransferredKv && output.PromptTokens is not null;
        var isTraced = output.RoutedExpertsJson is not null || output.SamplingMaskJson is not null;
        if (!hasHit && !_collects && !isTraced && _promptLogprobs is null && output.KvTransferParamsJson is null)
        {
            return null;
        }

        var buffer = new ArrayBufferWriter<byte>(256);
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { SkipValidation = true }))
        {
            json.WriteStartObject();
            if (_promptLogprobs is { } promptLogprobs)
            {
                json.WritePropertyName("prompt_logprobs"u8);
                json.WriteRawValue(promptLogprobs.Span, skipInputValidation: true);
            }

            if (_collects)
            {
                WriteIds(json, "prompt_token_ids"u8, _request.TokenIds);
            }

            if (hasHit)
            {
                WriteCacheHit(json, output);
            }

            if (output.KvTransferParamsJson is { } transfer)
            {
                json.WritePropertyName("kv_transfer_params"u8);
                json.WriteRawValue(transfer.Span, skipInputValidation: true);
            }

            WriteTrace(json, output, choice);
            if (_collects)
            {
                WriteCompletion(json, choice);
            }

            json.WriteEndObject();
        }

        return buffer.WrittenMemory;
    }

    /// <summary>Writes <c>kv_cache_hit</c>.</summary>
    public static void WriteCacheHit(Utf8JsonWriter json, EngineOutput output)
    {
        json.WriteStartObject("kv_cache_hit"u8);
        json.WriteNumber("prompt_tokens"u8, output.PromptTokens ?? 0);
        json.WriteNumber("reused_tokens"u8, output.CachedTokens ?? 0);
        json.WriteEndObject();
    }

    /// <summary>What a trainer needs to compute the same tokens once more.</summary>
    /// <exception cref="RequestFailedException">Rows that belong to other tokens would teach it wrong ones.</exception>
    private static void WriteTrace(Utf8JsonWriter json, EngineOutput output, in ChoiceState choice)
    {
        if (output.RoutedExpertsJson is { } experts)
        {
            json.WritePropertyName("routed_experts"u8);
            json.WriteRawValue(experts.Span, skipInputValidation: true);
        }

        if (output.SamplingMaskJson is not { } mask)
        {
            return;
        }

        if (output.SamplingMaskRows != choice.TokenCount)
        {
            throw new RequestFailedException(
                DynamoError.InvalidArgumentPrivate(
                    $"ValueError: vLLM sampling mask row count {output.SamplingMaskRows} does not match completion token count "
                        + choice.TokenCount
                )
            );
        }

        json.WritePropertyName("sampling_mask"u8);
        json.WriteRawValue(mask.Span, skipInputValidation: true);
    }

    private static void WriteCompletion(Utf8JsonWriter json, in ChoiceState choice)
    {
        var tokens = choice.Tokens ?? [];
        WriteIds(json, "completion_token_ids"u8, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(tokens));
        json.WriteBoolean("finished"u8, true);
        if (choice.Logprobs is { } logprobs && logprobs.Count == tokens.Count)
        {
            json.WriteStartArray("completion_logprobs"u8);
            foreach (var value in logprobs)
            {
                json.WriteNumberValue(value);
            }

            json.WriteEndArray();
        }
    }

    private static void WriteIds(Utf8JsonWriter json, ReadOnlySpan<byte> name, ReadOnlySpan<int> ids)
    {
        json.WriteStartArray(name);
        foreach (var id in ids)
        {
            json.WriteNumberValue(id);
        }

        json.WriteEndArray();
    }

    /// <summary>What is remembered of one choice.</summary>
    private struct ChoiceState
    {
        /// <summary>The counts of its last usage; null before the first.</summary>
        public (int? Prompt, int? Cached)? Counted;
        public int TokenCount;
        public List<int>? Tokens;
        public List<double>? Logprobs;

        /// <summary>Keeps what <c>engine_data</c> reports at the end. Bounded by the tokens of one choice.</summary>
        public void Collect(EngineOutput output)
        {
            Tokens ??= [];
            foreach (var token in output.Tokens.Span)
            {
                Tokens.Add(token);
            }

            if (output.Logprobs is { } logprobs)
            {
                Logprobs ??= [];
                foreach (var entry in logprobs)
                {
                    Logprobs.Add(entry.Selected);
                }
            }
        }
    }
}
