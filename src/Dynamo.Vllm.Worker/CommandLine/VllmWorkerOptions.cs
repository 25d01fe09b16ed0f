using Dynamo.Vllm.Worker.CommandLine.Parsing;

namespace Dynamo.Vllm.Worker.CommandLine;

/// <summary>The values of the group "Dynamo vLLM Options", one property per destination.</summary>
/// <remarks>
/// Raw: variables are not checked against the allowed words, and nothing is resolved yet. Meanings are in the help texts of
/// <see cref="Options.VllmOptionTable"/>.
/// </remarks>
public sealed record VllmWorkerOptions
{
    public string? DisaggregationMode { get; init; }

    public required bool UseVllmTokenizer { get; init; }

    public required bool RouteToEncoder { get; init; }

    public required bool EnableMultimodal { get; init; }

    public required bool EnableRl { get; init; }

    public required string MmPromptTemplate { get; init; }

    public required bool FrontendDecoding { get; init; }

    public string? CustomEncoderClass { get; init; }

    public required string EmbeddingTransferMode { get; init; }

    public required bool EmbeddingWorker { get; init; }

    public required bool EmbeddingFrontendTokenization { get; init; }

    public required long EmbeddingWorkerProcesses { get; init; }

    public required bool Realtime { get; init; }

    public required bool ClassifyWorker { get; init; }

    public required bool Headless { get; init; }

    public string? ModelExpressUrl { get; init; }

    public required bool GmsShadowMode { get; init; }

    public string? BenchmarkMode { get; init; }

    public string? BenchmarkPointsFile { get; init; }

    public required long PrefillMaxNewTokenSamples { get; init; }

    public required long PrefillMaxKvReadTokenSamples { get; init; }

    public required long DecodeMaxKvReadTokenSamples { get; init; }

    public required long DecodeMaxBatchSizeSamples { get; init; }

    public required long PrefixMaxBatchSizeSamples { get; init; }

    public long? BenchmarkPrefillGranularity { get; init; }

    public long? BenchmarkPrefillKvReadGranularity { get; init; }

    public long? BenchmarkPrefillBatchGranularity { get; init; }

    public long? BenchmarkDecodeLengthGranularity { get; init; }

    public long? BenchmarkDecodeBatchGranularity { get; init; }

    public required bool BenchmarkRandomizeKdaState { get; init; }

    public required bool BenchmarkHybridLiveState { get; init; }

    public required long BenchmarkWarmupIterations { get; init; }

    public required string BenchmarkOutputPath { get; init; }

    public required bool BenchmarkCollectImbalanced { get; init; }

    public required long BenchmarkTimeoutSeconds { get; init; }

    public long? BenchmarkMaxBatchSize { get; init; }

    /// <summary>Sampling limits that a flag or a variable set, even to the default: they exclude their old spellings.</summary>
    public required IReadOnlySet<string> ExplicitSamplingLimits { get; init; }

    internal static VllmWorkerOptions From(ParsedValues values) =>
        new()
        {
            DisaggregationMode = values.Text("disaggregation_mode"),
            UseVllmTokenizer = values.Flag("use_vllm_tokenizer"),
            RouteToEncoder = values.Flag("route_to_encoder"),
            EnableMultimodal = values.Flag("enable_multimodal"),
            EnableRl = values.Flag("enable_rl"),
            MmPromptTemplate = values.RequiredText("mm_prompt_template"),
            FrontendDecoding = values.Flag("frontend_decoding"),
            CustomEncoderClass = values.Text("custom_encoder_class"),
            EmbeddingTransferMode = values.RequiredText("embedding_transfer_mode"),
            EmbeddingWorker = values.Flag("embedding_worker"),
            EmbeddingFrontendTokenization = values.Flag("embedding_frontend_tokenization"),
            EmbeddingWorkerProcesses = values.Integer("embedding_worker_processes"),
            Realtime = values.Flag("realtime"),
            ClassifyWorker = values.Flag("classify_worker"),
            Headless = values.Flag("headless"),
            ModelExpressUrl = values.Text("model_express_url"),
            GmsShadowMode = values.Flag("gms_shadow_mode"),
            BenchmarkMode = values.Text("benchmark_mode"),
            BenchmarkPointsFile = values.Text("benchmark_points_file"),
            PrefillMaxNewTokenSamples = values.Integer("prefill_max_new_token_samples"),
            PrefillMaxKvReadTokenSamples = values.Integer("prefill_max_kv_read_token_samples"),
            DecodeMaxKvReadTokenSamples = values.Integer("decode_max_kv_read_token_samples"),
            DecodeMaxBatchSizeSamples = values.Integer("decode_max_batch_size_samples"),
            PrefixMaxBatchSizeSamples = values.Integer("prefix_max_batch_size_samples"),
            BenchmarkPrefillGranularity = values.OptionalInteger("benchmark_prefill_granularity"),
            BenchmarkPrefillKvReadGranularity = values.OptionalInteger("benchmark_prefill_kv_read_granularity"),
            BenchmarkPrefillBatchGranularity = values.OptionalInteger("benchmark_prefill_batch_granularity"),
            BenchmarkDecodeLengthGranularity = values.OptionalInteger("benchmark_decode_length_granularity"),
            BenchmarkDecodeBatchGranularity = values.OptionalInteger("benchmark_decode_batch_granularity"),
            BenchmarkRandomizeKdaState = values.Flag("benchmark_randomize_kda_state"),
            BenchmarkHybridLiveState = values.Flag("benchmark_hybrid_live_state"),
            BenchmarkWarmupIterations = values.Integer("benchmark_warmup_iterations"),
            BenchmarkOutputPath = values.RequiredText("benchmark_output_path"),
            BenchmarkCollectImbalanced = values.Flag("benchmark_collect_imbalanced"),
            BenchmarkTimeoutSeconds = values.Integer("benchmark_timeout"),
            BenchmarkMaxBatchSize = values.OptionalInteger("benchmark_max_batch_size"),
            ExplicitSamplingLimits = BenchmarkSampling.Limits.Select(limit => limit.Destination).Where(values.IsExplicit).ToHashSet(),
        };
}
