namespace Dynamo.Vllm.PeerTests;

/// <summary>The frontend passes the client's body on, and vLLM tokenizes.</summary>
public sealed class TextEmbeddingFixture : EmbeddingFixture;
