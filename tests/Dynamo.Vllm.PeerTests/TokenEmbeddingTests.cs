namespace Dynamo.Vllm.PeerTests;

[Trait("Category", "Peers")]
[TestCaseOrderer(DeclarationOrder.Type, DeclarationOrder.Assembly)]
public sealed class TokenEmbeddingTests(TokenEmbeddingFixture pair) : EmbeddingTests(pair), IClassFixture<TokenEmbeddingFixture>;
