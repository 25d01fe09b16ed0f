namespace Dynamo.Vllm.Worker.CommandLine;

/// <remarks>Step 6: valid for the reference, but not something this worker can serve yet.</remarks>
public sealed partial class ConfigurationResolver
{
    private const string SnapshotVariable = "DYN_SNAPSHOT_CONTROL_DIR";

    private IEnumerable<UnsupportedFeature> FindUnsupported(Draft draft)
    {
        var (vllm, engine) = (draft.Vllm, draft.Engine);
        var router = draft.Arguments.Router;
        return new (bool Asked, string Flag, string Reason)[]
        {
            (draft.Mode == DisaggregationMode.Encode, "--disaggregation-mode encode", "encode workers are not supported yet"),
            (vllm.RouteToEncoder, "--route-to-encoder", "needs encode workers, which are not supported yet"),
            (vllm.Realtime, "--realtime", "realtime workers are not supported yet"),
            (vllm.ClassifyWorker, "--classify-worker", "classify workers are not supported yet"),
            (vllm.EmbeddingWorker, "--embedding-worker", "embedding workers are not supported yet"),
            (vllm.EmbeddingWorkerProcesses > 1, "--embedding-worker-processes", "only one process is supported"),
            (vllm.Headless, "--headless", "headless nodes are not supported yet; run python -m dynamo.vllm there"),
            (vllm.GmsShadowMode, "--gms-shadow-mode", "the GPU memory service is not supported yet"),
            (engine.LoadFormat == "gms", "--load-format gms", "the GPU memory service is not supported yet"),
            (Variable("DYN_GMS_USE_V1") == "true", "DYN_GMS_USE_V1", "the GPU memory service is not supported yet"),
            (vllm.BenchmarkMode is not null, "--benchmark-mode", "the self-benchmark is not supported yet"),
            (!string.IsNullOrEmpty(vllm.CustomEncoderClass), "--custom-encoder-class", "custom encoders are not supported yet"),
            (!string.IsNullOrEmpty(Variable(SnapshotVariable)), SnapshotVariable, "checkpoints are not supported yet"),
            (
                engine.KvTransferConfig?["kv_connector_extra_config"]?["dynamo_state_agent"] is not null,
                "dynamo_state_agent in --kv-transfer-config",
                "the KV state agent is not supported yet"
            ),
            (
                router is { RouterMode: "kv", RouterPolicyConfig: not null },
                "--router-policy-config",
                "its YAML settings cannot be put into the model card yet"
            ),
        }
            .Where(feature => feature.Asked)
            .Select(feature => new UnsupportedFeature(feature.Flag, feature.Reason));
    }
}
