namespace Dynamo.Vllm.PeerTests;

[Trait("Category", "Peers")]
[TestCaseOrderer(DeclarationOrder.Type, DeclarationOrder.Assembly)]
public sealed class TextEmbeddingTests(TextEmbeddingFixture pair) : EmbeddingTests(pair), IClassFixture<TextEmbeddingFixture>;
