using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.Core.Engines;

/// <summary>New tokens of one choice, as the engine gave them or merged while the reader was behind.</summary>
/// <remarks>Owned by its stream: valid until the next call to <see cref="IEngineStream.TryTake"/>.</remarks>
public sealed class EngineOutput
{
    private int[] _tokens = new int[4];
    private int _count;
    private byte[] _text = [];
    private int _textBytes;

    public int Index { get; private set; }

    public ReadOnlyMemory<int> Tokens => _tokens.AsMemory(0, _count);

    /// <summary>The text that the tokens add, where the request wants text; it may come later than they.</summary>
    public ReadOnlyMemory<byte> TextUtf8 => _text.AsMemory(0, _textBytes);

    public FinishReason Finish { get; private set; }

    public string? FinishText { get; set; }

    /// <summary>Prompt length in tokens, or null if the engine reported none.</summary>
    public int? PromptTokens { get; private set; }

    /// <summary>Prompt tokens that came from the prefix cache.</summary>
    public int? CachedTokens { get; private set; }

    /// <summary>One entry per token, if asked for.</summary>
    public List<TokenLogprobs>? Logprobs { get; set; }

    public ReadOnlyMemory<byte>? StopReasonJson { get; set; }

    public ReadOnlyMemory<byte>? PromptLogprobsJson { get; set; }

    /// <summary>Token ids of a prompt that was text, in its first output, where they were asked for.</summary>
    public ReadOnlyMemory<byte>? PromptTokensJson { get; set; }

    public ReadOnlyMemory<byte>? KvTransferParamsJson { get; set; }

    /// <summary>The experts that each token took, at the end of a choice; null unless the engine tells of them.</summary>
    public ReadOnlyMemory<byte>? RoutedExpertsJson { get; set; }

    /// <summary>For each token of the choice the tokens that it was drawn from, likewise.</summary>
    public ReadOnlyMemory<byte>? SamplingMaskJson { get; set; }

    /// <summary>Rows of <see cref="SamplingMaskJson"/>.</summary>
    public int SamplingMaskRows { get; set; }

    /// <summary>On a prefill worker, at the end: what a decode worker needs to know of the media.</summary>
    public ReadOnlyMemory<byte>? EmbeddingParamsJson { get; set; }

    /// <summary>Nothing follows on this stream.</summary>
    public bool IsLast { get; private set; }

    /// <summary>Only tokens, no end: later tokens of the same choice may be appended.</summary>
    public bool CanMerge =>
        Finish == FinishReason.None
        && Logprobs is null
        && StopReasonJson is null
        && PromptLogprobsJson is null
        && PromptTokensJson is null
        && KvTransferParamsJson is null
        && EmbeddingParamsJson is null;

    /// <summary>Starts over for a new record.</summary>
    public void Reset(int index, FinishReason finish, int promptTokens, int cachedTokens, bool isLast)
    {
        _count = 0;
        _textBytes = 0;
        Index = index;
        FinishText = null;
        Logprobs = null;
        StopReasonJson = null;
        PromptLogprobsJson = null;
        PromptTokensJson = null;
        KvTransferParamsJson = null;
        RoutedExpertsJson = null;
        SamplingMaskJson = null;
        EmbeddingParamsJson = null;
        Update(finish, promptTokens, cachedTokens, isLast);
    }

    /// <summary>Takes over the end and the counts of a record that is merged into this one.</summary>
    public void Update(FinishReason finish, int promptTokens, int cachedTokens, bool isLast)
    {
        Finish = finish;
        PromptTokens = promptTokens < 0 ? null : promptTokens;
        CachedTokens = cachedTokens < 0 ? null : cachedTokens;
        IsLast = isLast;
    }

    public void Append(ReadOnlySpan<int> tokens)
    {
        if (_count + tokens.Length > _tokens.Length)
        {
            Array.Resize(ref _tokens, Math.Max(_tokens.Length * 2, _count + tokens.Length));
        }

        tokens.CopyTo(_tokens.AsSpan(_count));
        _count += tokens.Length;
    }

    public void AppendText(ReadOnlySpan<byte> utf8)
    {
        if (_textBytes + utf8.Length > _text.Length)
        {
            Array.Resize(ref _text, Math.Max(_text.Length * 2, _textBytes + utf8.Length));
        }

        utf8.CopyTo(_text.AsSpan(_textBytes));
        _textBytes += utf8.Length;
    }
}
