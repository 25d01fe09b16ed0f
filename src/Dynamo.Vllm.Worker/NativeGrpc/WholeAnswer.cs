using System.Text;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary>The messages of a stream as one, for a caller who waits for all of them. Bounded by what one request may generate.</summary>
internal sealed class WholeAnswer
{
    private readonly GenerateResponse _whole = new();
    private readonly StringBuilder _text = new();

    public Task AddAsync(GenerateResponse response)
    {
        if (response.PromptInfo is { } prompt)
        {
            _whole.PromptInfo = prompt;
        }

        if (response.Outputs is { } output)
        {
            var outputs = _whole.Outputs ??= new SequenceOutput();
            _text.Append(output.Text);
            outputs.NumTokens += output.NumTokens;
            outputs.TokenIds.AddRange(output.TokenIds);
            outputs.Logprobs.AddRange(output.Logprobs);
            outputs.Ranks.AddRange(output.Ranks);
            outputs.CandidateTokens.AddRange(output.CandidateTokens);
            outputs.FinishInfo = output.FinishInfo;
        }

        return Task.CompletedTask;
    }

    public GenerateResponse Finish()
    {
        if (_whole.Outputs is { } outputs)
        {
            outputs.Text = _text.ToString();
        }

        return _whole;
    }
}
