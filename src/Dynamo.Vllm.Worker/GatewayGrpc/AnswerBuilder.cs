using System.Text;
using System.Text.Json;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Responses;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Dynamo.Vllm.Worker.GrpcRequests;
using Google.Protobuf.Collections;

namespace Dynamo.Vllm.Worker.GatewayGrpc;

/// <summary>Engine outputs to messages of the contract.</summary>
/// <remarks>One per request. Not thread-safe.</remarks>
internal sealed class AnswerBuilder
{
    private readonly GatewayRequest _request;

    public AnswerBuilder(GatewayRequest request) => _request = request;

    /// <summary>What an output adds to its choice.</summary>
    public GenerateStreamChunk Chunk(EngineOutput output)
    {
        var tokens = output.Tokens.Span;
        var chunk = new GenerateStreamChunk
        {
            PromptTokens = PromptTokens(output),
            CompletionTokens = (uint)tokens.Length,
            CachedTokens = CachedTokens(output),
            Index = (uint)output.Index,
            OutputLogprobs = Logprobs(tokens, output.Logprobs),
            InputLogprobs = InputLogprobs(output),
        };
        Add(chunk.TokenIds, tokens);
        return chunk;
    }

    /// <summary>The end of a choice, with what its last output added.</summary>
    /// <exception cref="RequestFailedException">The engine ended it in a way that the contract has no word for.</exception>
    public GenerateComplete Complete(GenerateStreamChunk last, EngineOutput output)
    {
        var complete = new GenerateComplete
        {
            OutputIds = { last.TokenIds },
            FinishReason = Word(output),
            PromptTokens = last.PromptTokens,
            CompletionTokens = last.CompletionTokens,
            CachedTokens = last.CachedTokens,
            OutputLogprobs = last.OutputLogprobs,
            InputLogprobs = last.InputLogprobs,
            Index = last.Index,
        };
        if (output.Finish == FinishReason.Stop)
        {
            SetStop(complete, output.StopReasonJson);
        }

        if (output.KvTransferParamsJson is { } transfer)
        {
            SetTransfer(complete, transfer);
        }

        return complete;
    }

    private uint PromptTokens(EngineOutput output) => (uint)(output.PromptTokens ?? _request.Request.TokenIds.Length);

    private static uint CachedTokens(EngineOutput output) => (uint)(output.CachedTokens ?? 0);

    private static void Add(RepeatedField<uint> ids, ReadOnlySpan<int> tokens)
    {
        ids.Capacity = tokens.Length;
        foreach (var token in tokens)
        {
            ids.Add((uint)token);
        }
    }

    private OutputLogProbs? Logprobs(ReadOnlySpan<int> tokens, List<TokenLogprobs>? logprobs)
    {
        if (logprobs is null || tokens.IsEmpty)
        {
            return null;
        }

        var told = new OutputLogProbs();
        for (var i = 0; i < tokens.Length; i++)
        {
            told.TokenLogprobs.Add((float)logprobs[i].Selected);
            told.TokenIds.Add((uint)tokens[i]);
            AddTop(told.TopLogprobs, logprobs[i].Top, _request.Request.Logprobs);
        }

        return told;
    }

    /// <summary>They come once, with the first output; with later ones the engine gives an empty list.</summary>
    private InputLogProbs? InputLogprobs(EngineOutput output)
    {
        if (output.PromptLogprobsJson is not { } json || PromptPositions.Read(json) is not { Count: > 0 } positions)
        {
            return null;
        }

        var told = new InputLogProbs();
        if (output.PromptTokensJson is { } named)
        {
            using var document = JsonDocument.Parse(named);
            told.TokenIds.AddRange(document.RootElement.EnumerateArray().Select(id => id.GetUInt32()));
        }
        else
        {
            Add(told.TokenIds, _request.Request.TokenIds);
        }

        foreach (var position in positions)
        {
            var token = new InputTokenLogProb();
            if (position.Count > 0)
            {
                token.Value = (float)position[0].Logprob;
            }

            told.TokenLogprobs.Add(token);
            AddTop(told.TopLogprobs, position, _request.Request.PromptLogprobs);
        }

        return told;
    }

    /// <summary>As many as were asked for, the token itself among them: it comes first.</summary>
    private static void AddTop(RepeatedField<TopLogProbs> lists, IReadOnlyList<TopLogprob> candidates, int? asked)
    {
        if (asked is null or 0)
        {
            return;
        }

        var told = new TopLogProbs();
        foreach (var candidate in asked > 0 ? candidates.Take(asked.Value) : candidates)
        {
            told.Values.Add((float)candidate.Logprob);
            told.TokenIds.Add((uint)candidate.TokenId);
        }

        lists.Add(told);
    }

    /// <summary>A token id or a text; nothing where the model itself ended the choice.</summary>
    private static void SetStop(GenerateComplete complete, ReadOnlyMemory<byte>? json)
    {
        switch (StopReason.Read(json))
        {
            case { Text: { } text }:
                complete.MatchedStopStr = text;
                break;
            case { TokenId: var token }:
                complete.MatchedTokenId = token;
                break;
        }
    }

    /// <summary>The older form, too, of a connector whose parameters are a place alone.</summary>
    private static void SetTransfer(GenerateComplete complete, ReadOnlyMemory<byte> json)
    {
        complete.KvTransferParamsJson = Encoding.UTF8.GetString(json.Span);
        using var document = JsonDocument.Parse(json);
        if (
            document.RootElement.ValueKind == JsonValueKind.Object
            && document.RootElement.TryGetProperty("remote_host", out var host)
            && host.ValueKind == JsonValueKind.String
            && document.RootElement.TryGetProperty("remote_port", out var port)
            && port.ValueKind == JsonValueKind.Number
            && port.TryGetUInt16(out var number)
            && number > 0
        )
        {
            complete.KvTransferParams = new KvTransferParams { RemoteHost = host.GetString(), RemotePort = number };
        }
    }

    private static string Word(EngineOutput output) =>
        output.Finish switch
        {
            // The gateway's own word for a text that repeats itself, where it talks to the engine without a worker.
            FinishReason.Stop or FinishReason.Repetition => "stop",
            FinishReason.Length => "length",
            FinishReason.Abort => "abort",
            _ => throw GrpcStatuses.NoWordFor(output),
        };
}
