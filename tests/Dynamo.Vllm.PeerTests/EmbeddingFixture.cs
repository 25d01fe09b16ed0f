using System.Net;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Embedding workers.</summary>
public abstract class EmbeddingFixture : NamedPairFixture
{
    private const string Path = "/v1/embeddings";

    /// <param name="flags">Beside those that make them embedding workers.</param>
    protected EmbeddingFixture(params string[] flags)
        : base(Path, new JsonObject { ["input"] = "hello" }, ["--embedding-worker", "--runner", "pooling", "--convert", "embed", .. flags])
    { }

    /// <summary>What a client gets.</summary>
    public Task<(HttpStatusCode Status, JsonNode Body)> EmbedAsync(
        string name,
        JsonObject body,
        CancellationToken cancellationToken = default
    ) => AskAsync(Path, name, body, cancellationToken);
}
