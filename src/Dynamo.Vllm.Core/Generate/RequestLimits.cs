using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>Refuses what is too much for one request, before it costs the interpreter that every stream of this worker shares.</summary>
/// <remarks>
/// The engine would refuse most of it, too: ids are below the vocabulary's size, so a longer list holds one twice or one that is none. But
/// by then a million ids have been turned into objects and back, and each other stream has stood still for most of a second.
/// </remarks>
internal static class RequestLimits
{
    public static void Check(PreprocessedRequest request, EngineDescription engine)
    {
        CheckPrompt(request.TokenIds.Length, engine.MaxModelLength);
        if (request.NativeGenerate is { } native)
        {
            CheckNative(native, request.TokenIds.Length, engine.MaxNumSeqs);
        }

        if (engine.VocabularySize is { } vocabulary)
        {
            var sampling = request.SamplingOptions;
            Check("stop_conditions.stop_token_ids", request.StopConditions.StopTokenIds?.Count, vocabulary);
            Check("stop_conditions.stop_token_ids_hidden", request.StopConditions.StopTokenIdsHidden?.Count, vocabulary);
            Check("sampling_options.allowed_token_ids", sampling.AllowedTokenIds?.Count, vocabulary);
            Check("sampling_options.logprob_token_ids", sampling.LogprobTokenIds?.Count, vocabulary);
            Check("sampling_options.logit_bias", sampling.LogitBias?.Count, vocabulary);
            Check("sampling_options.bad_words_token_ids", sampling.BadWordsTokenIds?.Sum(word => word.Count), vocabulary);
        }

        if (request.SamplingOptions.GuidedDecoding is { } guided && guided.ApproximateBytes > Limits.GuidedDecodingBytesMax)
        {
            throw new ProtocolException(
                $"sampling_options.guided_decoding takes {guided.ApproximateBytes} bytes, above the limit {Limits.GuidedDecodingBytesMax}"
            );
        }
    }

    /// <summary>In the reference's words.</summary>
    private static void CheckNative(NativeGenerate native, int promptTokens, int choicesMax)
    {
        if (native.RoutedExpertsPromptStart >= promptTokens && native.RoutedExpertsPromptStart > 0)
        {
            throw new ProtocolException(
                $"sampling_params.routed_experts_prompt_start must be smaller than the prompt token count, which is {promptTokens}"
            );
        }

        if (native.N > choicesMax)
        {
            throw new ProtocolException($"sampling_params.n must be at most the server's max_num_seqs ({choicesMax}), got {native.N}.");
        }
    }

    /// <summary>In vLLM's words for a prompt that it renders itself. We
    /// hand prompts over rendered, where its sentence is another.</summary>
    public static void CheckPrompt(int tokens, int tokensMax)
    {
        if (tokens <= tokensMax)
        {
            return;
        }

        var counted = tokens == tokensMax + 1 ? "at least " : "";
        throw new RequestFailedException(
            DynamoError.Http(
                400,
                $"This model's maximum context length is {tokensMax} tokens. However, you requested 0 output tokens and your prompt "
                    + $"contains {counted}{tokens} input tokens, for a total of {counted}{tokens} tokens. Please reduce the length of the "
                    + $"input prompt or the number of requested output tokens. (parameter=input_tokens, value={tokens})"
            )
        );
    }

    private static void Check(string field, int? count, int countMax)
    {
        if (count > countMax)
        {
            throw new ProtocolException($"{field} holds {count} token ids, above the limit {countMax}, the size of the vocabulary");
        }
    }
}
