using System.Globalization;
using System.Net;
using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Worker.GrpcRequests;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary>Requests of the contract to those of the worker's own handlers. Refusals have the codes and texts of vLLM's server.</summary>
/// <remarks>Ranges that the engine checks are left to it. A number that is 0 was not given, and the model's default holds.</remarks>
internal static class NativeRequestReader
{
    public const string RankHeader = "x-data-parallel-rank";

    /// <summary>Which the engine's cache knows salts with, whoever gave them: the same salt is one space over every way.</summary>
    private const string SaltPrefix = "dynamo-cache-salt:";

    /// <param name="request">As it came.</param>
    /// <param name="id">Its own, or one that was made for it.</param>
    /// <param name="rank">Value of <see cref="RankHeader"/>, or null.</param>
    /// <param name="engine">Its limits.</param>
    /// <param name="models">Names of the base model.</param>
    /// <param name="adapters">What else is served; null unless the engine takes adapters.</param>
    /// <exception cref="RequestFailedException">It cannot be served as it is.</exception>
    public static NativeRequest Read(
        GenerateRequest request,
        string id,
        string? rank,
        EngineDescription engine,
        IReadOnlySet<string> models,
        AdapterTable? adapters
    )
    {
        var form = AnswerForm.Of(request.Response);
        RefuseUnserved(request, form);
        var read = new PreprocessedRequest { HasTokenIds = true, Model = ModelOf(request, models, adapters) };
        ReadPrompt(request, read, id, engine);
        ReadSampling(request, read.SamplingOptions);
        ReadDecoding(request.Decoding, read.SamplingOptions);
        ReadStopping(request.Stopping, read);
        ReadLogprobs(form, read);
        ReadKv(request.Kv, read);
        read.SessionId = request.HasSessionId ? request.SessionId : null;
        // Here lower is served first, as in the engine; Dynamo's requests, whose form this is, say it the other way round.
        read.Routing.Priority = request.Priority == int.MinValue ? int.MaxValue : -request.Priority;
        read.Routing.DataParallelRank = RankOf(rank, engine);
        return new NativeRequest(read, ReadText(request, form), form);
    }

    private static void RefuseUnserved(GenerateRequest request, AnswerForm form)
    {
        if (request.Media.Count > 0)
        {
            throw Numbers.Refused("media: multimodal input is not supported by this server");
        }

        if (request.Kv?.EcTransferParams is not null)
        {
            throw Numbers.Refused("kv.ec_transfer_params: encoder caches are not supported by this server");
        }

        if (request.Sampling is { NumSequences: > 1 })
        {
            throw Numbers.Refused("num_sequences > 1 is not supported");
        }

        if (form.PromptCandidates?.Tokens is not null)
        {
            throw Numbers.Refused("response.prompt_candidates: token_ids is not supported for the prompt");
        }
    }

    /// <returns>The name of an adapter; null for the model itself.</returns>
    private static string? ModelOf(GenerateRequest request, IReadOnlySet<string> models, AdapterTable? adapters)
    {
        if (request.Model.Length > 0 && !models.Contains(request.Model))
        {
            throw NotFound($"model `{request.Model}` not found");
        }

        if (request.LoraName.Length == 0)
        {
            return null;
        }

        return adapters?.Loaded.Any(adapter => adapter.Name == request.LoraName) == true
            ? request.LoraName
            : throw NotFound(AdapterCalls.NotLoaded(request.LoraName));
    }

    private static RequestFailedException NotFound(string text) => new(DynamoError.Http((int)HttpStatusCode.NotFound, text));

    private static void ReadPrompt(GenerateRequest request, PreprocessedRequest read, string id, EngineDescription engine)
    {
        switch (request.PromptCase)
        {
            case GenerateRequest.PromptOneofCase.Text:
                PromptParts.CheckText(request.Text);
                return;
            case GenerateRequest.PromptOneofCase.TokenIds when request.TokenIds.Ids.Count == 0:
                throw Numbers.Refused($"text request `{id}` must contain at least one prompt token ID");
            case GenerateRequest.PromptOneofCase.TokenIds:
                var tokens = PromptParts.ReadTokens("token_ids", request.TokenIds.Ids, engine);
                var kept = Numbers.Given("truncate_prompt_tokens", request.TruncatePromptTokens);
                read.TokenIds = PromptParts.Truncate(tokens, kept ?? tokens.Length);
                break;
            default:
                throw Numbers.Refused("prompt is required");
        }

        PromptParts.CheckLength(read.TokenIds, engine);
    }

    private static EngineText? ReadText(GenerateRequest request, AnswerForm form)
    {
        var stops = request.Stopping?.StopStrings;
        var isText = request.PromptCase == GenerateRequest.PromptOneofCase.Text;
        if (!isText && !form.Text && stops is not { Count: > 0 })
        {
            return null; // the short way, by which nothing is detokenized
        }

        return new EngineText
        {
            Prompt = isText ? request.Text : null,
            PromptTokensMax = isText ? Numbers.Given("truncate_prompt_tokens", request.TruncatePromptTokens) : null,
            NamesPromptTokens = isText && form.PromptTokens,
            StopStrings = stops is { Count: > 0 } ? PromptParts.ReadStops("stop_strings", stops) : [],
            SkipSpecialTokens = request.Response is { HasSkipSpecialTokens: true } response ? response.SkipSpecialTokens : null,
        };
    }

    private static void ReadSampling(GenerateRequest request, SamplingOptions sampling)
    {
        // Greedy where nothing is said, whatever the model's own default.
        sampling.Temperature = Within("temperature", request.Temperature, 0, 2, isOpen: false);
        if (request.Sampling is not { } random)
        {
            return;
        }

        sampling.TopK = Numbers.Given("top_k", random.TopK);
        sampling.TopP = random.TopP == 0 ? null : Within("top_p", random.TopP, 0, 1, isOpen: true);
        sampling.MinP = random.MinP == 0 ? null : Within("min_p", random.MinP, 0, 1, isOpen: false);
        sampling.Seed = random.HasSeed ? random.Seed : null;
    }

    private static double Within(string field, float value, double least, double most, bool isOpen)
    {
        var number = Numbers.Double(field, value);
        return number <= most && (isOpen ? number > least : number >= least)
            ? number
            : throw Numbers.Refused(
                string.Create(CultureInfo.InvariantCulture, $"{field} must be in {(isOpen ? '(' : '[')}{least}, {most}], got {number}")
            );
    }

    private static void ReadDecoding(DecodingParameters? decoding, SamplingOptions sampling)
    {
        if (decoding is null)
        {
            return;
        }

        sampling.PresencePenalty = Numbers.Given("presence_penalty", decoding.PresencePenalty);
        sampling.FrequencyPenalty = Numbers.Given("frequency_penalty", decoding.FrequencyPenalty);
        sampling.RepetitionPenalty = Numbers.Given("repetition_penalty", decoding.RepetitionPenalty);
        if (decoding.LogitBias.Count > 0)
        {
            sampling.LogitBias = decoding.LogitBias.ToDictionary(
                pair => Numbers.Int32("logit_bias", pair.Key),
                pair => Numbers.Double("logit_bias", pair.Value)
            );
        }

        if (decoding.AllowedTokenIds.Count > 0)
        {
            sampling.AllowedTokenIds = Numbers.Tokens("allowed_token_ids", decoding.AllowedTokenIds);
        }

        sampling.GuidedDecoding = GuidedForms.Read(decoding);
    }

    private static void ReadStopping(StoppingCriteria? stopping, PreprocessedRequest read)
    {
        if (stopping is null)
        {
            return;
        }

        var stop = read.StopConditions;
        stop.MaxTokens = Numbers.Given("max_new_tokens", stopping.MaxNewTokens);
        stop.MinTokens = Numbers.Given("min_new_tokens", stopping.MinNewTokens);
        stop.IgnoreEos = stopping.IgnoreEos ? true : null;
        stop.StopTokenIds = stopping.StopTokenIds.Count > 0 ? Numbers.Tokens("stop_token_ids", stopping.StopTokenIds) : null;
        read.SamplingOptions.IncludeStopStrInOutput = stopping.IncludeStopStrings ? true : null;
    }

    private static void ReadLogprobs(AnswerForm form, PreprocessedRequest read)
    {
        read.Logprobs = form.Candidates?.EngineCount;
        read.SamplingOptions.LogprobTokenIds = form.Candidates?.Tokens;
        read.PromptLogprobs = form.PromptCandidates?.EngineCount;
    }

    private static void ReadKv(KVCacheParameters? kv, PreprocessedRequest read)
    {
        if (kv is null)
        {
            return;
        }

        read.SamplingOptions.SkipReadingPrefixCache = kv.BypassPrefixCache ? true : null;
        var salt = kv.CacheSalt;
        read.CacheSalt =
            salt.Length == 0 ? null
            : salt.StartsWith(SaltPrefix, StringComparison.Ordinal) ? salt[SaltPrefix.Length..]
            : salt;
        if (kv.KvTransferParams is { } transfer)
        {
            read.KvTransferParamsJson = StructJson.Write("kv.kv_transfer_params", transfer);
        }
    }

    private static int? RankOf(string? text, EngineDescription engine)
    {
        if (text is null)
        {
            return null;
        }

        if (!uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var rank))
        {
            throw Numbers.Refused($"{RankHeader} metadata must be an unsigned 32-bit integer");
        }

        return rank <= int.MaxValue && engine.LocalRank((int)rank) is not null
            ? (int)rank
            : throw Numbers.Refused(
                $"engine-core error: data parallel rank {rank} is not connected to this frontend; connected ranks: "
                    + $"[{string.Join(", ", Enumerable.Range(engine.DataParallelStart, engine.DataParallelSize))}]"
            );
    }
}
