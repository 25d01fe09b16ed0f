namespace Dynamo.Vllm.Protocol.Responses;

/// <summary>One candidate at one position.</summary>
/// <param name="TokenId">Vocabulary id.</param>
/// <param name="Rank">1 for the likeliest; 0 if the engine gave none.</param>
/// <param name="Logprob">Natural logarithm of the probability.</param>
/// <param name="TokenUtf8">Text of the single token in UTF-8; empty above the tokenizer's last id.</param>
public readonly record struct TopLogprob(int TokenId, int Rank, double Logprob, ReadOnlyMemory<byte> TokenUtf8);
