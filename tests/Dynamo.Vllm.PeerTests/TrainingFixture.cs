using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Workers that a trainer works with, on a model with sampling defaults of its own.</summary>
public sealed class TrainingFixture : NamedPairFixture
{
    public const string Completion = "/v1/completions";

    public TrainingFixture()
        : base(Completion, new JsonObject { ["prompt"] = "hello", ["max_tokens"] = 1 }, ["--enable-rl"]) { }

    /// <summary>A checkpoint with the model's shapes and other weights.</summary>
    public string NewWeights { get; private set; } = "";

    protected override async Task<IReadOnlyList<string>> ModelAsync(string folder)
    {
        NewWeights = await TrainedModel.MakeWithNewWeightsAsync(Path.Combine(folder, "new-weights"));
        return ["--model", TrainedModel.MakeWithDefaults(Path.Combine(folder, "with-defaults"))];
    }
}
