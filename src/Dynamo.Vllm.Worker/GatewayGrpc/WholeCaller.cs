using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;

namespace Dynamo.Vllm.Worker.GatewayGrpc;

/// <summary>The caller who waits for all of a request: one message for each choice. Bounded by what one request may generate.</summary>
internal sealed class WholeCaller : GatewayCaller
{
    private readonly SortedDictionary<uint, GenerateStreamChunk> _choices = [];
    private readonly SortedDictionary<uint, GenerateComplete> _ended = [];

    public WholeCaller(Func<GenerateResponse, bool, Task> write, CancellationToken left)
        : base(write, left) { }

    public override async ValueTask WriteAsync(EngineOutput output)
    {
        var added = Answer.Chunk(output);
        if (_choices.TryGetValue(added.Index, out var choice))
        {
            Merge(choice, added);
        }
        else
        {
            _choices[added.Index] = choice = added;
        }

        if (output.Finish != FinishReason.None)
        {
            _ended[added.Index] = Answer.Complete(choice, output);
        }

        if (output.IsLast)
        {
            var left = _ended.Count;
            foreach (var complete in _ended.Values)
            {
                await SendAsync(new GenerateResponse { Complete = complete }, hasMore: --left > 0).ConfigureAwait(false);
            }
        }
    }

    private static void Merge(GenerateStreamChunk choice, GenerateStreamChunk added)
    {
        choice.TokenIds.AddRange(added.TokenIds);
        choice.CompletionTokens += added.CompletionTokens;
        choice.PromptTokens = added.PromptTokens;
        choice.CachedTokens = added.CachedTokens;
        choice.InputLogprobs ??= added.InputLogprobs;
        if (added.OutputLogprobs is { } logprobs)
        {
            var all = choice.OutputLogprobs ??= new OutputLogProbs();
            all.TokenLogprobs.AddRange(logprobs.TokenLogprobs);
            all.TokenIds.AddRange(logprobs.TokenIds);
            all.TopLogprobs.AddRange(logprobs.TopLogprobs);
        }
    }
}
