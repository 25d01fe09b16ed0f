using Dynamo.Vllm.Worker.NativeGrpc.Contract;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary>What a request wants to be told beside the count of tokens and the end.</summary>
/// <param name="PromptTokens">Ids of the prompt.</param>
/// <param name="PromptCandidates">With their logprobs; null for none.</param>
/// <param name="Text">What the tokens say.</param>
/// <param name="Tokens">Ids of what was made.</param>
/// <param name="Candidates">With their logprobs; null for none.</param>
internal sealed record AnswerForm(bool PromptTokens, CandidateChoice? PromptCandidates, bool Text, bool Tokens, CandidateChoice? Candidates)
{
    public static AnswerForm Of(ResponseOptions? options) =>
        new(
            options?.PromptTokenIds ?? false,
            options is { PromptLogprobs: true } ? CandidateChoice.Of(options.PromptCandidates) : null,
            options is not { HasOutputText: true, OutputText: false },
            options?.OutputTokenIds ?? false,
            options is { OutputLogprobs: true } ? CandidateChoice.Of(options.OutputCandidates) : null
        );
}
