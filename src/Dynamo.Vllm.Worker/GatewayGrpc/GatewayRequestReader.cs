using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Dynamo.Vllm.Worker.GrpcRequests;

namespace Dynamo.Vllm.Worker.GatewayGrpc;

/// <summary>Requests of the contract to those of the worker's own handlers.</summary>
/// <remarks>
/// Ranges that the engine checks are left to it. What is not given is vLLM's own default and not the model's: the client has been told
/// those (<c>GetModelInfo</c>), and sends what it wants of them.
/// </remarks>
internal static class GatewayRequestReader
{
    /// <summary>Of the client's word for how much of a prompt is kept.</summary>
    private const int WhatTheModelTakes = -1;

    private const int PortMax = 65535;

    /// <param name="request">As it came.</param>
    /// <param name="engine">Its limits.</param>
    /// <exception cref="RequestFailedException">It cannot be served as it is.</exception>
    public static GatewayRequest Read(GenerateRequest request, EngineDescription engine)
    {
        RefuseMedia(request);
        var asked = request.SamplingParams ?? new SamplingParams();
        var read = new PreprocessedRequest { HasTokenIds = true };
        ReadPrompt(request, asked, read, engine);
        ReadSampling(asked, read.SamplingOptions, engine);
        ReadStopping(asked, read, engine);
        read.Logprobs = asked.HasLogprobs ? asked.Logprobs : null;
        read.PromptLogprobs = asked.HasPromptLogprobs ? asked.PromptLogprobs : null;
        read.ReasoningEnded = asked.GrammarFromFirstToken ? true : null;
        read.KvTransferParamsJson = ReadTransfer(request);
        read.Routing.DataParallelRank = RankOf(request, engine);
        return new GatewayRequest(read, ReadText(request, asked, engine));
    }

    private static void RefuseMedia(GenerateRequest request)
    {
        var field =
            request.MmInputs is not null ? "mm_inputs"
            : request.ExtraMmInputs.Count > 0 ? "extra_mm_inputs"
            : request.MediaRefs is not null ? "media_refs"
            : null;
        if (field is not null)
        {
            throw Numbers.Refused($"{field}: multimodal input is not supported by this server");
        }
    }

    private static void ReadPrompt(GenerateRequest request, SamplingParams asked, PreprocessedRequest read, EngineDescription engine)
    {
        switch (request.InputCase)
        {
            case GenerateRequest.InputOneofCase.Text:
                PromptParts.CheckText(request.Text);
                break;
            case GenerateRequest.InputOneofCase.Tokenized when request.Tokenized.InputIds.Count == 0:
                throw Numbers.Refused("tokenized.input_ids must contain at least one token id");
            case GenerateRequest.InputOneofCase.Tokenized:
                var tokens = PromptParts.ReadTokens("tokenized.input_ids", request.Tokenized.InputIds, engine);
                read.TokenIds = PromptParts.Truncate(tokens, KeptOf(asked, engine) ?? tokens.Length);
                PromptParts.CheckLength(read.TokenIds, engine);
                break;
            default:
                throw Numbers.Refused("input is required: tokenized or text");
        }
    }

    /// <returns>Tokens of the prompt that are kept; null for all.</returns>
    private static int? KeptOf(SamplingParams asked, EngineDescription engine) =>
        !asked.HasTruncatePromptTokens ? null
        : asked.TruncatePromptTokens == WhatTheModelTakes ? engine.MaxModelLength
        : asked.TruncatePromptTokens > 0 ? asked.TruncatePromptTokens
        : throw Numbers.Refused($"truncate_prompt_tokens must be {WhatTheModelTakes} or at least 1, got {asked.TruncatePromptTokens}");

    private static EngineText? ReadText(GenerateRequest request, SamplingParams asked, EngineDescription engine)
    {
        var isText = request.InputCase == GenerateRequest.InputOneofCase.Text;
        if (!isText && asked.Stop.Count == 0)
        {
            return null; // the short way, by which nothing is detokenized
        }

        return new EngineText
        {
            Prompt = isText ? request.Text : null,
            PromptTokensMax = isText ? KeptOf(asked, engine) : null,
            NamesPromptTokens = isText && asked.HasPromptLogprobs,
            StopStrings = PromptParts.ReadStops("stop", asked.Stop),
            SkipSpecialTokens = asked.SkipSpecialTokens,
        };
    }

    private static void ReadSampling(SamplingParams asked, SamplingOptions sampling, EngineDescription engine)
    {
        if (asked.N > engine.MaxNumSeqs)
        {
            throw Numbers.Refused($"n must be at most the server's max_num_seqs ({engine.MaxNumSeqs}), got {asked.N}");
        }

        sampling.N = asked.N <= 1 ? null : (int)asked.N;
        sampling.Temperature = asked.HasTemperature ? Numbers.Double("temperature", asked.Temperature) : 1;
        sampling.TopP = Numbers.Given("top_p", asked.TopP) ?? 1;
        sampling.TopK = Numbers.Int32("top_k", asked.TopK);
        sampling.MinP = Numbers.Double("min_p", asked.MinP);
        sampling.PresencePenalty = Numbers.Double("presence_penalty", asked.PresencePenalty);
        sampling.FrequencyPenalty = Numbers.Double("frequency_penalty", asked.FrequencyPenalty);
        sampling.RepetitionPenalty = Numbers.Given("repetition_penalty", asked.RepetitionPenalty) ?? 1;
        sampling.Seed = asked.HasSeed ? asked.Seed : null;
        if (asked.LogitBias.Count > 0)
        {
            sampling.LogitBias = asked.LogitBias.ToDictionary(pair => pair.Key, pair => Numbers.Double("logit_bias", pair.Value));
        }

        sampling.GuidedDecoding = ReadConstraint(asked);
    }

    private static GuidedDecoding? ReadConstraint(SamplingParams asked) =>
        asked.ConstraintCase switch
        {
            SamplingParams.ConstraintOneofCase.JsonSchema => new GuidedDecoding { JsonSchema = GuidedJson.ReadSchema(asked.JsonSchema) },
            SamplingParams.ConstraintOneofCase.Regex => new GuidedDecoding { Regex = asked.Regex },
            SamplingParams.ConstraintOneofCase.Grammar => new GuidedDecoding { Grammar = asked.Grammar },
            SamplingParams.ConstraintOneofCase.StructuralTag => new GuidedDecoding
            {
                StructuralTag = GuidedJson.Read(asked.StructuralTag, "structural_tag"),
            },
            SamplingParams.ConstraintOneofCase.JsonObject when asked.JsonObject => GuidedJson.AnyObject,
            SamplingParams.ConstraintOneofCase.Choice => new GuidedDecoding { Choice = [.. asked.Choice.Choices] },
            _ => null,
        };

    private static void ReadStopping(SamplingParams asked, PreprocessedRequest read, EngineDescription engine)
    {
        var stop = read.StopConditions;
        // The engine ends a choice at the end of its context by itself: of a prompt that is text the length is not known here.
        stop.MaxTokens = asked.HasMaxTokens
            ? Numbers.Int32("max_tokens", asked.MaxTokens)
            : Math.Max(1, engine.MaxModelLength - read.TokenIds.Length);
        stop.MinTokens = Numbers.Given("min_tokens", asked.MinTokens);
        stop.IgnoreEos = asked.IgnoreEos ? true : null;
        stop.StopTokenIds = asked.StopTokenIds.Count > 0 ? Numbers.Tokens("stop_token_ids", asked.StopTokenIds) : null;
        read.SamplingOptions.IncludeStopStrInOutput = asked is { IncludeStopStrInOutput: true, Stop.Count: > 0 } ? true : null;
    }

    private static ReadOnlyMemory<byte>? ReadTransfer(GenerateRequest request)
    {
        if (request.HasKvTransferParamsJson)
        {
            return ReadObject("kv_transfer_params_json", request.KvTransferParamsJson);
        }

        if (request.KvTransferParams is not { } transfer)
        {
            return null;
        }

        if (transfer.RemoteHost.Length == 0)
        {
            throw Numbers.Refused("kv_transfer_params.remote_host must not be empty");
        }

        if (transfer.RemotePort is 0 or > PortMax)
        {
            throw Numbers.Refused($"kv_transfer_params.remote_port must be from 1 to {PortMax}, got {transfer.RemotePort}");
        }

        var place = new JsonObject { ["remote_host"] = transfer.RemoteHost, ["remote_port"] = transfer.RemotePort };
        return Encoding.UTF8.GetBytes(place.ToJsonString());
    }

    private static ReadOnlyMemory<byte> ReadObject(string field, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        try
        {
            using var document = JsonDocument.Parse(bytes, GuidedJson.AsDeepAsBodies);
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? bytes
                : throw Numbers.Refused($"{field} must be a JSON object, got {document.RootElement.ValueKind}");
        }
        catch (JsonException exception)
        {
            throw Numbers.Refused($"{field} is not valid JSON: {exception.Message}");
        }
    }

    private static int? RankOf(GenerateRequest request, EngineDescription engine)
    {
        if (!request.HasDataParallelRank)
        {
            return null;
        }

        var (rank, start) = (request.DataParallelRank, engine.DataParallelStart);
        return engine.LocalRank(rank) is not null
            ? rank
            : throw Numbers.Refused($"data_parallel_rank {rank} is out of range [{start}, {start + engine.DataParallelSize}).");
    }
}
