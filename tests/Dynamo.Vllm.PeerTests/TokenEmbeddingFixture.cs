namespace Dynamo.Vllm.PeerTests;

/// <summary>The frontend tokenizes. Ours stands for three processes of the reference, so that it is three instances in discovery.</summary>
public sealed class TokenEmbeddingFixture() : EmbeddingFixture("--embedding-frontend-tokenization")
{
    protected internal override int OurInstances => 3;

    protected override IEnumerable<string> FlagsOf(string name) => name == OurName ? ["--embedding-worker-processes", "3"] : [];
}
