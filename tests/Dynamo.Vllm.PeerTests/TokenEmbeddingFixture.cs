namespace Dynamo.Vllm.PeerTests;

/// <summary>The frontend tokenizes.</summary>
public sealed class TokenEmbeddingFixture() : EmbeddingFixture("--embedding-frontend-tokenization");
