using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.Worker.Configuration.Rules;

/// <summary>Step 6: valid for the reference, but not something this worker can serve yet.</summary>
internal sealed class SupportRules(HostFacts facts) : ConfigurationRules(facts)
{
    public IEnumerable<UnsupportedFeature> FindUnsupported(ConfigurationDraft draft)
    {
        var (options, engine) = (draft.Options, draft.Engine);
        return new (bool Asked, string Flag, string Reason)[]
        {
            (
                (draft.Mode == DisaggregationMode.Encode || options.Get(VllmOptions.RouteToEncoder))
                    && options.Get(VllmOptions.EmbeddingTransferMode) == "nixl-read",
                "--embedding-transfer-mode nixl-read",
                "embeddings are written by their sender (nixl-write), or into files of this host (local)"
            ),
            (
                draft.Mode != DisaggregationMode.Encode && options.Get(RuntimeOptions.MultimodalEmbeddingCacheCapacityGb) > 0,
                "--multimodal-embedding-cache-capacity-gb",
                "only encode workers keep embeddings"
            ),
            (options.Get(VllmOptions.Realtime), "--realtime", "realtime workers are not supported yet"),
            (options.Get(VllmOptions.GmsShadowMode), "--gms-shadow-mode", "the GPU memory service is not supported yet"),
            (engine.LoadFormat == "gms", "--load-format gms", "the GPU memory service is not supported yet"),
            (Variable("DYN_GMS_USE_V1") == "true", "DYN_GMS_USE_V1", "the GPU memory service is not supported yet"),
            (options.Get(VllmOptions.BenchmarkPointsFile) is not null, "--benchmark-points-file", "only generated grids are measured yet"),
            (options.Get(VllmOptions.BenchmarkRandomizeKdaState), "--benchmark-randomize-kda-state", "not supported yet"),
            (
                options.Get(VllmOptions.BenchmarkMode) is not null && Variable("DYN_FPM_GC_POLICY")?.Trim().ToLowerInvariant() == "freeze",
                "DYN_FPM_GC_POLICY=freeze with --benchmark-mode",
                "the policy is not supported yet"
            ),
            (
                !string.IsNullOrEmpty(options.Get(VllmOptions.CustomEncoderClass)),
                "--custom-encoder-class",
                "custom encoders are not supported yet"
            ),
            (!string.IsNullOrEmpty(Variable(SnapshotVariable)), SnapshotVariable, "checkpoints are not supported yet"),
        }
            .Where(feature => feature.Asked)
            .Select(feature => new UnsupportedFeature(feature.Flag, feature.Reason));
    }
}
