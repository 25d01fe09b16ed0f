using System.Text;
using System.Text.Json;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Responses;
using Dynamo.Vllm.Worker.GrpcRequests;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;
using Google.Protobuf.Collections;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary>Engine outputs to messages of the contract.</summary>
/// <remarks>One per request. Not thread-safe.</remarks>
internal sealed class ResponseBuilder
{
    private readonly NativeRequest _request;
    private uint _outputTokens;
    private int _lastToken;

    public ResponseBuilder(NativeRequest request) => _request = request;

    /// <summary>What is said of the prompt, before the first output.</summary>
    public PromptInfo BuildPrompt(EngineOutput first)
    {
        var info = new PromptInfo { NumPromptTokens = (uint)(first.PromptTokens ?? _request.Request.TokenIds.Length) };
        if (_request.Form.PromptTokens)
        {
            AddPromptTokens(info, first);
        }

        if (_request.Form.PromptCandidates is { } asked && first.PromptLogprobsJson is { } json)
        {
            PromptLogprobs.AddTo(info, json, asked);
        }

        return info;
    }

    /// <summary>What an output adds; null for nothing.</summary>
    /// <exception cref="Protocol.Errors.RequestFailedException">The contract has no word for how the engine ended it.</exception>
    public SequenceOutput? Build(EngineOutput output)
    {
        if (output.Tokens.IsEmpty && output.TextUtf8.IsEmpty && output.Finish == FinishReason.None)
        {
            return null;
        }

        var tokens = output.Tokens.Span;
        var built = new SequenceOutput { NumTokens = (uint)tokens.Length };
        _outputTokens += built.NumTokens;
        _lastToken = tokens.IsEmpty ? _lastToken : tokens[^1];
        if (_request.Form.Text)
        {
            built.Text = Encoding.UTF8.GetString(output.TextUtf8.Span);
        }

        if (_request.Form.Tokens)
        {
            AddTokens(built.TokenIds, tokens);
        }

        if (_request.Form.Candidates is { } asked && output.Logprobs is { } logprobs)
        {
            AddLogprobs(built, tokens, logprobs, asked);
        }

        if (output.Finish != FinishReason.None)
        {
            built.FinishInfo = BuildEnd(output);
        }

        return built;
    }

    private void AddPromptTokens(PromptInfo info, EngineOutput first)
    {
        if (first.PromptTokensJson is { } json)
        {
            using var document = JsonDocument.Parse(json);
            info.TokenIds.AddRange(document.RootElement.EnumerateArray().Select(id => id.GetUInt32()));
        }
        else
        {
            AddTokens(info.TokenIds, _request.Request.TokenIds);
        }
    }

    private static void AddTokens(RepeatedField<uint> ids, ReadOnlySpan<int> tokens)
    {
        ids.Capacity = tokens.Length;
        foreach (var token in tokens)
        {
            ids.Add((uint)token);
        }
    }

    private static void AddLogprobs(SequenceOutput built, ReadOnlySpan<int> tokens, List<TokenLogprobs> logprobs, CandidateChoice asked)
    {
        for (var i = 0; i < tokens.Length; i++)
        {
            var (token, entry) = (tokens[i], logprobs[i]);
            built.Logprobs.Add((float)entry.Selected);
            built.Ranks.Add((uint)entry.Top.FirstOrDefault(candidate => candidate.TokenId == token).Rank);
            built.CandidateTokens.Add(
                Candidates.List(
                    entry.Top.Select(candidate => new CandidateTokenInfo.Types.TokenInfo
                    {
                        Id = (uint)candidate.TokenId,
                        Logprob = (float)candidate.Logprob,
                        // Of tokens that were named the engine gives their place in its list, which is no rank.
                        Rank = asked.Tokens is null || candidate.TokenId == token ? (uint)candidate.Rank : 0,
                    }),
                    asked
                )
            );
        }
    }

    private FinishInfo BuildEnd(EngineOutput output)
    {
        var end = new FinishInfo
        {
            NumOutputTokens = _outputTokens,
            FinishReason = Word(output),
            KvTransferParams = StructJson.Read(output.KvTransferParamsJson),
        };
        if (output.Finish == FinishReason.Stop)
        {
            SetStopReason(end, output.StopReasonJson);
        }

        return end;
    }

    /// <summary>A token id, a text, or nothing: then the last token ended the sequence.</summary>
    private void SetStopReason(FinishInfo end, ReadOnlyMemory<byte>? json)
    {
        switch (StopReason.Read(json))
        {
            case { Text: { } text }:
                end.StopString = text;
                break;
            case { TokenId: var token }:
                end.StopTokenId = token;
                break;
            default:
                end.EosTokenId = (uint)_lastToken;
                break;
        }
    }

    private static FinishInfo.Types.FinishReason Word(EngineOutput output) =>
        output.Finish switch
        {
            FinishReason.Stop => FinishInfo.Types.FinishReason.Stop,
            // A text that repeats itself is cut off like one that is too long.
            FinishReason.Length or FinishReason.Repetition => FinishInfo.Types.FinishReason.Length,
            FinishReason.Abort => FinishInfo.Types.FinishReason.Aborted,
            _ => throw GrpcStatuses.NoWordFor(output),
        };
}
