namespace Dynamo.Vllm.Worker.Configuration.Options;

/// <summary><c>--version</c> and the group "Dynamo vLLM Options".</summary>
/// <remarks>Order, defaults and texts are those of <c>tests/golden/worker/help-full.txt</c>; a test compares them line by line.</remarks>
public static class VllmOptions
{
    public static OptionDefinition Version { get; } = Option.Version();

    public static Option<string?> DisaggregationMode { get; } =
        Option.OptionalText(
            "--disaggregation-mode",
            "DYN_VLLM_DISAGGREGATION_MODE",
            choices: ["pd", "agg", "prefill", "decode", "encode"],
            help: "Worker disaggregation mode: 'agg' (default, aggregated), 'pd' (combined prefill+decode worker), 'prefill' "
                + "(prefill-only worker), 'decode' (decode-only worker), or 'encode' (multimodal encode worker)."
        );

    public static Option<bool> UseVllmTokenizer { get; } =
        Option.Boolean(
            "--use-vllm-tokenizer",
            "DYN_VLLM_USE_TOKENIZER",
            false,
            help: "Use vLLM's tokenizer for pre- and post-processing. This bypasses Dynamo's preprocessor and only "
                + "/v1/chat/completions will be available through the Dynamo frontend. Dedicated embedding workers currently ignore "
                + "this option and use vLLM tokenization by default; set --embedding-frontend-tokenization to enable Dynamo frontend "
                + "tokenization for text embeddings."
        );

    public static Option<bool> RouteToEncoder { get; } =
        Option.Boolean(
            "--route-to-encoder",
            "DYN_VLLM_ROUTE_TO_ENCODER",
            false,
            help: "Enable routing to separate encoder workers for multimodal processing."
        );

    public static Option<bool> EnableMultimodal { get; } =
        Option.Boolean(
            "--enable-multimodal",
            "DYN_VLLM_ENABLE_MULTIMODAL",
            false,
            help: "Enable multimodal processing. If not set, none of the multimodal components can be used."
        );

    public static Option<bool> EnableRl { get; } =
        Option.Boolean(
            "--enable-rl",
            "DYN_ENABLE_RL",
            false,
            help: "Enable RL training support. Mirrors --enable-rl on the SGLang backend and selects RL-friendly vLLM defaults for "
                + "TITO and per-token logprob parity."
        );

    public static Option<string> MmPromptTemplate { get; } =
        Option.Text(
            "--mm-prompt-template",
            "DYN_VLLM_MM_PROMPT_TEMPLATE",
            "USER: <image>\n<prompt> ASSISTANT:",
            help: "Different multi-modal models expect the prompt to contain different special media prompts. The processor will use "
                + "this argument to construct the final prompt. User prompt will replace '<prompt>' in the provided template. For "
                + "example, if the user prompt is 'please describe the image' and the prompt template is 'USER: <image> <prompt> "
                + "ASSISTANT:', the resulting prompt is 'USER: <image> please describe the image ASSISTANT:'."
        );

    public static Option<bool> FrontendDecoding { get; } =
        Option.Boolean(
            "--frontend-decoding",
            "DYN_VLLM_FRONTEND_DECODING",
            false,
            help: "Enable frontend decoding of multimodal images and videos. Media is decoded in the Rust frontend and transferred "
                + "to the backend via NIXL RDMA, bypassing in-engine HTTP fetch + decode. Engine-specific topology constraints may "
                + "apply \u2014 see backend validation."
        );

    public static Option<string?> CustomEncoderClass { get; } =
        Option.OptionalText(
            "--custom-encoder-class",
            "DYN_CUSTOM_ENCODER_CLASS",
            help: "Dotted module.ClassName path to a VisionEncoderBackend subclass. When set, the aggregated worker wraps it in the "
                + "in-process AsyncVisionEncoder and runs encoder.encode(image_urls) for each multimodal request, bypassing vLLM's "
                + "built-in multimodal processing. --model is passed verbatim to the backend's build(). Example: "
                + "'my_package.encoders.MyEncoder'."
        );

    public static Option<string> EmbeddingTransferMode { get; } =
        Option.Text(
            "--embedding-transfer-mode",
            "DYN_VLLM_EMBEDDING_TRANSFER_MODE",
            "nixl-write",
            choices: ["local", "nixl-write", "nixl-read"],
            help: "Worker embedding transfer mode: 'local' (default, local file system), 'nixl-write' (NIXL transfer with WRITE), or "
                + "'nixl-read' (NIXL transfer with READ)."
        );

    public static Option<bool> EmbeddingWorker { get; } =
        Option.Boolean(
            "--embedding-worker",
            "DYN_VLLM_EMBEDDING_WORKER",
            false,
            help: "Run as a text-embedding worker. Engine must be started with vLLM's --runner pooling. Skips KV-events, KV router "
                + "registration, and InstrumentedScheduler injection (none apply to pooling models)."
        );

    public static Option<bool> EmbeddingFrontendTokenization { get; } =
        Option.Boolean(
            "--embedding-frontend-tokenization",
            "DYN_VLLM_EMBEDDING_FRONTEND_TOKENIZATION",
            false,
            strictEnvironment: true,
            help: "Use Dynamo frontend tokenization for raw-text inputs to a dedicated embedding worker. The default preserves "
                + "existing behavior: vLLM tokenizes embedding text. Requires --embedding-worker and cannot be combined with "
                + "--use-vllm-tokenizer. This temporary compatibility gate is planned for removal in the next release, when pooling "
                + "workers use --use-vllm-tokenizer consistently."
        );

    public static Option<long> EmbeddingWorkerProcesses { get; } =
        Option.Integer(
            "--embedding-worker-processes",
            "DYN_VLLM_EMBEDDING_WORKER_PROCESSES",
            1,
            help: "Number of Dynamo embedding endpoint processes sharing one vLLM EngineCore. Only valid with --embedding-worker. "
                + "The parent process counts as one worker (default: 1). Choose roughly the minimum of CPU cores available to the "
                + "worker and expected peak request concurrency; values above the CPU count are unlikely to help. More than one "
                + "process is useful only when requests overlap, because a single in-flight request occupies one process. The "
                + "processes share a single EngineCore, so adding processes adds request-handling and tokenization capacity, not GPU "
                + "throughput. Each process binds DYN_SYSTEM_PORT + its index, so a pool of N reserves DYN_SYSTEM_PORT through "
                + "DYN_SYSTEM_PORT + N - 1. A fixed DYN_TCP_RPC_PORT and intra-pod failover are not currently supported with more "
                + "than one process."
        );

    public static Option<bool> Realtime { get; } =
        Option.Boolean(
            "--realtime",
            "DYN_VLLM_REALTIME",
            false,
            help: "Serve a ModelType.Realtime bidirectional endpoint through the OpenAI /v1/realtime protocol. Standard vLLM "
                + "currently supports text-only realtime and transcription sessions. Aggregated workers only."
        );

    public static Option<bool> ClassifyWorker { get; } =
        Option.Boolean(
            "--classify-worker",
            "DYN_VLLM_CLASSIFY_WORKER",
            false,
            help: "Run as a sequence-classification worker, exposing /v1/classify and /v1/pooling endpoints. Engine must be started "
                + "with vLLM's --runner pooling. Skips KV events, KV router registration, and InstrumentedScheduler injection."
        );

    public static Option<bool> Headless { get; } =
        Option.Boolean(
            "--headless",
            "DYN_VLLM_HEADLESS",
            false,
            help: "Run in headless mode for multi-node TP/PP. Secondary nodes run vLLM workers only, no dynamo endpoints. See vLLM "
                + "multi-node data parallel documentation for more details."
        );

    public static Option<string?> ModelExpressUrl { get; } =
        Option.OptionalText(
            "--model-express-url",
            "MODEL_EXPRESS_URL",
            help: "DEPRECATED: accepted for compatibility with older ModelExpress manifests. The vLLM ModelExpress plugin reads its "
                + "own configuration."
        );

    public static Option<bool> GmsShadowMode { get; } =
        Option.Boolean(
            "--gms-shadow-mode",
            "DYN_VLLM_GMS_SHADOW_MODE",
            false,
            help: "Enable GMS shadow/standby mode. Shadow engines skip KV cache allocation at startup, automatically pause after "
                + "initialization, and resume on demand when the active engine dies. Requires --load-format=gms."
        );

    public static Option<string?> BenchmarkMode { get; } =
        Option.OptionalText(
            "--benchmark-mode",
            "DYN_BENCHMARK_MODE",
            choices: ["prefill", "decode", "agg"],
            help: "Run self-benchmark on startup before accepting requests. Sweeps iteration-total prefill tokens/KV reads/batch "
                + "size and/or decode total-KV/batch-size points. CUDA graph axes include every {capture size, capture size + 1} "
                + "boundary and continue geometrically to the engine limit. KV-read axes use complete power-of-two block ladders "
                + "plus their exact feasible maxima, then apply the configured per-axis sample limits."
        );

    public static Option<string?> BenchmarkPointsFile { get; } =
        Option.OptionalText(
            "--benchmark-points-file",
            "DYN_BENCHMARK_POINTS_FILE",
            help: "JSON file containing explicit pure prefill/decode benchmark points applied uniformly to every data-parallel rank. "
                + "The file completely replaces generated grid sampling for the phases selected by --benchmark-mode; generated-grid "
                + "sampling options, including legacy granularity options, are ignored. It is read and normalized once before vLLM "
                + "workers start, then the same contents are forwarded to every rank."
        );

    public static Option<long> PrefillMaxNewTokenSamples { get; } =
        Option.Integer(
            "--prefill-max-new-token-samples",
            "DYN_PREFILL_MAX_NEW_TOKEN_SAMPLES",
            64,
            help: "Maximum number of iteration-total prefill new-token samples. If the CUDA-graph-aware axis has more points, points "
                + "are selected uniformly across the sorted axis while always retaining its minimum and maximum (default: 64; must "
                + "be at least 2)."
        );

    public static Option<long> PrefillMaxKvReadTokenSamples { get; } =
        Option.Integer(
            "--prefill-max-kv-read-token-samples",
            "DYN_PREFILL_MAX_KV_READ_TOKEN_SAMPLES",
            16,
            help: "Maximum number of iteration-total prefill KV-read-token samples for each (new tokens, batch size) pair. If the "
                + "block-aligned KV ladder has more points, points are selected uniformly while always retaining zero and the "
                + "feasible maximum (default: 16; must be at least 2)."
        );

    public static Option<long> DecodeMaxKvReadTokenSamples { get; } =
        Option.Integer(
            "--decode-max-kv-read-token-samples",
            "DYN_DECODE_MAX_KV_READ_TOKEN_SAMPLES",
            128,
            help: "Maximum number of iteration-total decode KV-read-token samples for each batch size. If the KV ladder has more "
                + "points, points are selected uniformly while always retaining its minimum and feasible maximum (default: 128; must "
                + "be at least 2)."
        );

    public static Option<long> DecodeMaxBatchSizeSamples { get; } =
        Option.Integer(
            "--decode-max-batch-size-samples",
            "DYN_DECODE_MAX_BATCH_SIZE_SAMPLES",
            128,
            help: "Maximum number of decode batch-size samples. If the CUDA-graph-aware axis has more points, points are selected "
                + "uniformly while always retaining the minimum and feasible maximum (default: 128; must be at least 2)."
        );

    public static Option<long> PrefixMaxBatchSizeSamples { get; } =
        Option.Integer(
            "--prefix-max-batch-size-samples",
            "DYN_PREFIX_MAX_BATCH_SIZE_SAMPLES",
            3,
            help: "Maximum number of prefill request-batch-size samples for each new-token point. Keeps the first N values from the "
                + "sorted power-of-two-plus-legal-maximum axis, so the default 3 selects [1, 2, 4] when all three are legal "
                + "(default: 3; must be positive)."
        );

    public static Option<long?> BenchmarkPrefillGranularity { get; } =
        Option.OptionalInteger(
            "--benchmark-prefill-granularity",
            "DYN_BENCHMARK_PREFILL_GRANULARITY",
            help: "Deprecated compatibility option; use --prefill-max-new-token-samples. Legacy values are translated to the new "
                + "sampling limit."
        );

    public static Option<long?> BenchmarkPrefillKvReadGranularity { get; } =
        Option.OptionalInteger(
            "--benchmark-prefill-kv-read-granularity",
            "DYN_BENCHMARK_PREFILL_KV_READ_GRANULARITY",
            help: "Deprecated compatibility option; use --prefill-max-kv-read-token-samples. Legacy values are translated to the new "
                + "sampling limit."
        );

    public static Option<long?> BenchmarkPrefillBatchGranularity { get; } =
        Option.OptionalInteger(
            "--benchmark-prefill-batch-granularity",
            "DYN_BENCHMARK_PREFILL_BATCH_GRANULARITY",
            help: "Deprecated compatibility option; use --prefix-max-batch-size-samples. Legacy values are translated to the new "
                + "sampling limit."
        );

    public static Option<long?> BenchmarkDecodeLengthGranularity { get; } =
        Option.OptionalInteger(
            "--benchmark-decode-length-granularity",
            "DYN_BENCHMARK_DECODE_LENGTH_GRANULARITY",
            help: "Deprecated compatibility option; use --decode-max-kv-read-token-samples. Legacy values are translated to the new "
                + "sampling limit."
        );

    public static Option<long?> BenchmarkDecodeBatchGranularity { get; } =
        Option.OptionalInteger(
            "--benchmark-decode-batch-granularity",
            "DYN_BENCHMARK_DECODE_BATCH_GRANULARITY",
            help: "Deprecated compatibility option; use --decode-max-batch-size-samples. Legacy values are translated to the new "
                + "sampling limit."
        );

    public static Option<bool> BenchmarkRandomizeKdaState { get; } =
        Option.Boolean(
            "--benchmark-randomize-kda-state",
            "DYN_BENCHMARK_RANDOMIZE_KDA_STATE",
            false,
            help: "Initialize private KDA/Mamba decode benchmark states with bounded random values. Requires decode or agg benchmark "
                + "mode and the standard vLLM GPU worker. These are synthetic states, not real context history."
        );

    public static Option<bool> BenchmarkHybridLiveState { get; } =
        Option.Boolean(
            "--benchmark-hybrid-live-state",
            "DYN_BENCHMARK_HYBRID_LIVE_STATE",
            false,
            help: "Hybrid (KDA/Mamba) models: let the real-KV decode warm-up run with recurrent-state groups forked from the parked "
                + "chain's live state block instead of skipping the warm-up. Attention KV is the chain's real prefix; the recurrent "
                + "state is a valid but deeper-context state (shallow points read a few percent fast). Mutually exclusive with "
                + "--benchmark-randomize-kda-state."
        );

    public static Option<long> BenchmarkWarmupIterations { get; } =
        Option.Integer(
            "--benchmark-warmup-iterations",
            "DYN_BENCHMARK_WARMUP_ITERATIONS",
            5,
            help: "Warmup iterations before benchmark (default: 5)."
        );

    public static Option<string> BenchmarkOutputPath { get; } =
        Option.Text(
            "--benchmark-output-path",
            "DYN_BENCHMARK_OUTPUT_PATH",
            "/tmp/benchmark_results.json",
            help: "Path to write benchmark results JSON (default: /tmp/benchmark_results.json)."
        );

    public static Option<bool> BenchmarkCollectImbalanced { get; } =
        Option.Boolean(
            "--benchmark-collect-imbalanced",
            "DYN_BENCHMARK_COLLECT_IMBALANCED",
            false,
            help: "Also measure batches whose requests differ in length. Those points come from an explicit --benchmark-points-file "
                + "carrying per-request rows, and are skipped unless this is set. Off by default -- they exist to calibrate an "
                + "intra-batch work-delta correction and cost several forward passes per coordinate."
        );

    public static Option<long> BenchmarkTimeoutSeconds { get; } =
        Option.Integer(
            "--benchmark-timeout",
            "DYN_BENCHMARK_TIMEOUT",
            900,
            help: "Soft limit in seconds for self-benchmarking (default: 900). After the limit, the current measured iteration "
                + "finishes, partial results are returned, and engine startup continues. A bounded cleanup grace still fails closed "
                + "if no result is written."
        );

    public static Option<long?> BenchmarkMaxBatchSize { get; } =
        Option.OptionalInteger(
            "--benchmark-max-batch-size",
            "DYN_BENCHMARK_MAX_BATCH_SIZE",
            help: "Cap the decode benchmark batch-size axis without changing the engine's own limits. Points above the cap are never "
                + "generated (not measured, not skipped). Decoupled from --max-num-seqs: keep the engine at its deployment "
                + "concurrency while sweeping only the batch range the performance model needs; setting --max-num-seqs to at least "
                + "twice this cap keeps every swept rung warmable."
        );

    /// <summary>In the order of the help.</summary>
    public static IReadOnlyList<OptionDefinition> All { get; } =
    [
        Version,
        DisaggregationMode,
        UseVllmTokenizer,
        RouteToEncoder,
        EnableMultimodal,
        EnableRl,
        MmPromptTemplate,
        FrontendDecoding,
        CustomEncoderClass,
        EmbeddingTransferMode,
        EmbeddingWorker,
        EmbeddingFrontendTokenization,
        EmbeddingWorkerProcesses,
        Realtime,
        ClassifyWorker,
        Headless,
        ModelExpressUrl,
        GmsShadowMode,
        BenchmarkMode,
        BenchmarkPointsFile,
        PrefillMaxNewTokenSamples,
        PrefillMaxKvReadTokenSamples,
        DecodeMaxKvReadTokenSamples,
        DecodeMaxBatchSizeSamples,
        PrefixMaxBatchSizeSamples,
        BenchmarkPrefillGranularity,
        BenchmarkPrefillKvReadGranularity,
        BenchmarkPrefillBatchGranularity,
        BenchmarkDecodeLengthGranularity,
        BenchmarkDecodeBatchGranularity,
        BenchmarkRandomizeKdaState,
        BenchmarkHybridLiveState,
        BenchmarkWarmupIterations,
        BenchmarkOutputPath,
        BenchmarkCollectImbalanced,
        BenchmarkTimeoutSeconds,
        BenchmarkMaxBatchSize,
    ];
}
