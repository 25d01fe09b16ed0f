using System.Globalization;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Workers that a trainer works with, on a model with sampling defaults of its own and with blocks in files.</summary>
public sealed class TrainingFixture : NamedPairFixture
{
    public const string Completion = "/v1/completions";

    public TrainingFixture()
        : base(
            Completion,
            new JsonObject { ["prompt"] = "hello", ["max_tokens"] = 1 },
            ["--enable-rl", "--benchmark-mode", "decode", "--benchmark-timeout", "60"]
        ) { }

    /// <summary>A checkpoint with the model's shapes and other weights.</summary>
    public string NewWeights { get; private set; } = "";

    /// <summary>A connector around another one that keeps blocks in files, with a tier that says it takes hints.</summary>
    private static JsonObject Connectors(string folder) =>
        new()
        {
            ["kv_connector"] = "MultiConnector",
            ["kv_role"] = "kv_both",
            ["kv_connector_extra_config"] = new JsonObject
            {
                ["connectors"] = new JsonArray(
                    new JsonObject
                    {
                        ["kv_connector"] = "ExampleConnector",
                        ["kv_role"] = "kv_both",
                        ["kv_connector_extra_config"] = new JsonObject { ["shared_storage_path"] = folder },
                    }
                ),
                ["secondary_tiers"] = new JsonArray(
                    new JsonObject
                    {
                        ["router_capabilities"] = new JsonArray("router_hint"),
                        ["control_advertise_host"] = "10.0.0.7",
                        ["control_ports"] = new JsonArray(5001),
                    }
                ),
            },
        };

    /// <summary>The scheduler that measures itself publishes on this port, and two workers of one host must not meet there.</summary>
    protected override IReadOnlyDictionary<string, string> VariablesOf(string name) =>
        new Dictionary<string, string>
        {
            ["DYN_FORWARDPASS_METRIC_PORT"] = (name == OurName ? 21380 : 21480).ToString(CultureInfo.InvariantCulture),
            ["DYN_BENCHMARK_OUTPUT_PATH"] = Path.Combine(Store, $"{name}.json"),
        };

    protected override async Task<IReadOnlyList<string>> ModelAsync(string folder)
    {
        NewWeights = await TrainedModel.MakeWithNewWeightsAsync(Path.Combine(folder, "new-weights"));
        return
        [
            "--model",
            TrainedModel.MakeWithDefaults(Path.Combine(folder, "with-defaults")),
            "--kv-transfer-config",
            Connectors(Path.Combine(folder, "blocks")).ToJsonString(),
        ];
    }
}
