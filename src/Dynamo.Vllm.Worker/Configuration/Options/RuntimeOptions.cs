namespace Dynamo.Vllm.Worker.Configuration.Options;

/// <summary>The group "Dynamo Runtime Options": options that every Dynamo backend shares.</summary>
/// <remarks>Order, defaults and texts are those of <c>tests/golden/worker/help-full.txt</c>; a test compares them line by line.</remarks>
public static class RuntimeOptions
{
    public static Option<string> Namespace { get; } =
        Option.Text(
            "--namespace",
            "DYN_NAMESPACE",
            "dynamo",
            help: "Dynamo namespace. If DYN_NAMESPACE_WORKER_SUFFIX is set, '-{suffix}' is appended to support multiple worker pools"
        );

    public static Option<string?> Endpoint { get; } =
        Option.OptionalText(
            "--endpoint",
            "DYN_ENDPOINT",
            help: "Dynamo endpoint string in 'dyn://namespace.component.endpoint' format. Example: dyn://dynamo.backend.generate."
        );

    public static Option<string?> KvStateEndpoint { get; } =
        Option.OptionalText(
            "--kv-state-endpoint",
            "DYN_KV_STATE_ENDPOINT",
            help: "Endpoint identity that owns this worker's KV event and recovery state. Defaults to the serving endpoint."
        );

    public static Option<string> DiscoveryBackend { get; } =
        Option.Text(
            "--discovery-backend",
            "DYN_DISCOVERY_BACKEND",
            "etcd",
            choices: ["kubernetes", "etcd", "file", "mem"],
            help: "Discovery backend: kubernetes (K8s API), etcd (distributed KV), file (local filesystem), mem (in-memory). Etcd "
                + "uses the ETCD_* env vars (e.g. ETCD_ENDPOINTS) for connection details. File uses root dir from env var "
                + "DYN_FILE_KV or defaults to $TMPDIR/dynamo_store_kv."
        );

    public static Option<string> RequestPlane { get; } =
        Option.Text(
            "--request-plane",
            "DYN_REQUEST_PLANE",
            "tcp",
            choices: ["tcp", "nats"],
            help: "Determines how requests are distributed from routers to workers. 'tcp' is fastest."
        );

    public static Option<string> ResponsePlane { get; } =
        Option.Text(
            "--response-plane",
            "DYN_RESPONSE_PLANE",
            "tcp",
            choices: ["tcp", "quic"],
            help: "Select the response transport. Frontend and workers must match."
        ) with
        {
            Exported = true,
        };

    public static Option<string?> EventPlane { get; } =
        Option.OptionalText(
            "--event-plane",
            "DYN_EVENT_PLANE",
            choices: ["nats", "zmq"],
            help: "Determines how events are published. If unset, defaults to 'zmq' for all discovery backends. Set to 'nats' to use "
                + "a NATS-based event plane."
        );

    public static Option<bool> FpmTrace { get; } =
        Option.Boolean(
            "--fpm-trace",
            "DYN_FPM_TRACE",
            false,
            help: "Persist backend forward-pass metrics to rotating gzip JSONL trace files. Also enables the backend FPM "
                + "instrumentation required to produce those records."
        );

    public static Option<IReadOnlyList<string>> Connector { get; } =
        Option.Words(
            "--connector",
            "DYN_CONNECTOR",
            [],
            help: "[Deprecated for vLLM] Use --kv-transfer-config instead. For TRT-LLM, options: nixl, lmcache, kvbm, null, none."
        );

    public static Option<string?> DynToolCallParser { get; } =
        Option.OptionalText(
            "--dyn-tool-call-parser",
            "DYN_TOOL_CALL_PARSER",
            choices: ParserNames.ToolCall,
            help: "Tool call parser name for the model."
        );

    public static Option<string?> DynReasoningParser { get; } =
        Option.OptionalText(
            "--dyn-reasoning-parser",
            "DYN_REASONING_PARSER",
            choices: ParserNames.Reasoning,
            help: "Reasoning parser name for the model. If not specified, no reasoning parsing is performed."
        );

    public static Option<string?> DynDefaultThinkingMode { get; } =
        Option.OptionalText(
            "--dyn-default-thinking-mode",
            "DYN_DEFAULT_THINKING_MODE",
            choices: ["enabled", "disabled"],
            help: "Deployment-level default thinking mode for chat templates. Client request thinking, reasoning_effort, "
                + "chat_template_args, or chat_template_kwargs values override this default."
        );

    public static Option<bool> ExcludeToolsWhenToolChoiceNone { get; } =
        Option.Boolean(
            "--exclude-tools-when-tool-choice-none",
            "DYN_EXCLUDE_TOOLS_WHEN_TOOL_CHOICE_NONE",
            true,
            help: "Exclude tool definitions from the chat template when tool_choice='none'. Prevents models from generating raw XML "
                + "tool calls in the content field."
        );

    public static Option<bool?> DynEnableStructuralTag { get; } =
        Option.OptionalBoolean("--dyn-enable-structural-tag", "DYN_ENABLE_STRUCTURAL_TAG", hidden: true);

    public static Option<string?> DynStructuralTagScope { get; } =
        Option.OptionalText("--dyn-structural-tag-scope", "DYN_STRUCTURAL_TAG_SCOPE", choices: ["auto", "always"], hidden: true);

    public static Option<string?> DynStructuralTagSchema { get; } =
        Option.OptionalText("--dyn-structural-tag-schema", "DYN_STRUCTURAL_TAG_SCHEMA", choices: ["auto", "strict"], hidden: true);

    public static Option<StructuralTagSetting?> DynStructuralTag { get; } =
        Option.StructuralTag(
            "--dyn-structural-tag",
            "DYN_STRUCTURAL_TAG",
            help: "Configure default-on structural tag guided decoding with a JSON object, or pass false to disable optional "
                + "guidance. Rust retains native tags for Kimi K2 required/named and Kimi K3 named choices; Python vLLM and SGLang "
                + "respect the opt-out. Schema auto enforces strict omitted or true; schema strict enforces every tool, overriding "
                + "strict=false. Unsupported schema constructs can cause backend grammar compilation errors."
        );

    public static Option<string?> CustomJinjaTemplate { get; } =
        Option.OptionalText(
            "--custom-jinja-template",
            "DYN_CUSTOM_JINJA_TEMPLATE",
            help: "Path to a custom Jinja template file to override the model's default chat template. This template will take "
                + "precedence over any template found in the model repository."
        );

    public static Option<string> EndpointTypes { get; } =
        Option.Text(
            "--endpoint-types",
            "DYN_ENDPOINT_TYPES",
            "chat,completions",
            obsoleteFlag: "--dyn-endpoint-types",
            help: "Comma-separated list of endpoint types to enable. Options: 'chat', 'completions', or 'none'. Use 'completions' "
                + "for models without chat templates. Use 'none' for topology-only workers fronted by another Dynamo service."
        );

    public static Option<string?> DumpConfigTo { get; } =
        Option.OptionalText("--dump-config-to", "DYN_DUMP_CONFIG_TO", help: "Dump resolved configuration to the specified file path.");

    public static Option<double> MultimodalEmbeddingCacheCapacityGb { get; } =
        Option.Float(
            "--multimodal-embedding-cache-capacity-gb",
            "DYN_MULTIMODAL_EMBEDDING_CACHE_CAPACITY_GB",
            0,
            help: "Capacity of the multimodal embedding cache in GB. 0 = disabled."
        );

    public static Option<bool> MultimodalEmbeddingCachePublisher { get; } =
        Option.Boolean(
            "--multimodal-embedding-cache-publisher",
            "DYN_MULTIMODAL_EMBEDDING_CACHE_PUBLISHER",
            false,
            help: "Enable the multimodal embedding cache publisher. Useful when using KV-aware routing. Not needed for round-robin "
                + "routing or single-GPU / aggregated deployments."
        );

    public static Option<IReadOnlyList<string>> OutputModalities { get; } =
        Option.Words(
            "--output-modalities",
            "DYN_OUTPUT_MODALITIES",
            ["text"],
            help: "Output modalities for omni/diffusion mode (e.g., --output-modalities text image audio video)."
        );

    public static Option<string> MediaOutputFsUrl { get; } =
        Option.Text(
            "--media-output-fs-url",
            "DYN_MEDIA_OUTPUT_FS_URL",
            "file:///tmp/dynamo_media",
            help: "Filesystem URL for storing generated images and videos (e.g. file:///tmp/dynamo_media, s3://bucket/path)."
        );

    public static Option<string?> MediaOutputHttpUrl { get; } =
        Option.OptionalText(
            "--media-output-http-url",
            "DYN_MEDIA_OUTPUT_HTTP_URL",
            help: "Base URL for rewriting media file paths in responses (e.g. http://localhost:8000/media). If unset, returns raw "
                + "filesystem paths."
        );

    public static Option<string?> HealthCheckPayload { get; } =
        Option.OptionalText(
            "--health-check-payload",
            "DYN_HEALTH_CHECK_PAYLOAD",
            help: "Override the runtime health-check canary payload. Accepts a JSON object (e.g. '{\"token_ids\": [1], "
                + "\"stop_conditions\": {\"max_tokens\": 1}}') or '@/path/to/payload.json'. Takes precedence over the engine's "
                + "default health_check_payload(). Unified backend only."
        );

    public static Option<long?> EngineRequestLimit { get; } =
        Option.OptionalInteger(
            "--engine-request-limit",
            "DYN_ENGINE_REQUEST_LIMIT",
            help: "Max requests handled concurrently by the engine (worker-pool semaphore size). Enables worker-side request "
                + "rejection when set. Disabled by default."
        ) with
        {
            Exported = true,
        };

    public static Option<string?> TcpTlsCertPath { get; } =
        Option.OptionalText("--tcp-tls-cert-path", "DYN_TCP_TLS_CERT_PATH", help: "Path to PEM certificate for the TCP server.") with
        {
            Exported = true,
        };

    public static Option<string?> TcpTlsKeyPath { get; } =
        Option.OptionalText(
            "--tcp-tls-key-path",
            "DYN_TCP_TLS_KEY_PATH",
            help: "Path to PEM private key for the TCP server certificate."
        ) with
        {
            Exported = true,
        };

    public static Option<string?> TcpTlsCaCertPath { get; } =
        Option.OptionalText(
            "--tcp-tls-ca-cert-path",
            "DYN_TCP_TLS_CA_CERT_PATH",
            help: "Path to PEM CA certificate used by this node to verify the TCP peer's certificate."
        ) with
        {
            Exported = true,
        };

    public static Option<bool> TcpTlsInsecure { get; } =
        Option.Boolean(
            "--tcp-tls-insecure",
            "DYN_TCP_TLS_INSECURE",
            false,
            help: "Disable TCP TLS certificate verification. For local development only."
        ) with
        {
            Exported = true,
        };

    public static Option<string?> TcpTlsServerName { get; } =
        Option.OptionalText(
            "--tcp-tls-server-name",
            "DYN_TCP_TLS_SERVER_NAME",
            help: "Override TLS SNI server name for TCP connections (useful when connecting by IP)."
        ) with
        {
            Exported = true,
        };

    public static Option<long?> TcpTlsHandshakeTimeoutSeconds { get; } =
        Option.OptionalInteger(
            "--tcp-tls-handshake-timeout",
            "DYN_TCP_TLS_HANDSHAKE_TIMEOUT_SECS",
            destination: "tcp_tls_handshake_timeout_secs",
            help: "TLS handshake timeout in seconds (default: 3)."
        ) with
        {
            Exported = true,
        };

    public static Option<string?> TcpTlsClientCertPath { get; } =
        Option.OptionalText(
            "--tcp-tls-client-cert-path",
            "DYN_TCP_TLS_CLIENT_CERT_PATH",
            help: "Path to PEM client certificate presented to the TCP server for mTLS."
        ) with
        {
            Exported = true,
        };

    public static Option<string?> TcpTlsClientKeyPath { get; } =
        Option.OptionalText(
            "--tcp-tls-client-key-path",
            "DYN_TCP_TLS_CLIENT_KEY_PATH",
            help: "Path to PEM private key for the TCP client certificate (mTLS)."
        ) with
        {
            Exported = true,
        };

    public static Option<string?> TcpTlsClientCaCertPath { get; } =
        Option.OptionalText(
            "--tcp-tls-client-ca-cert-path",
            "DYN_TCP_TLS_CLIENT_CA_CERT_PATH",
            help: "Path to PEM CA certificate the TCP server uses to verify client certificates. When set, clients must present a "
                + "trusted certificate (mTLS enforced)."
        ) with
        {
            Exported = true,
        };

    public static Option<string?> NatsTlsCaCertPath { get; } =
        Option.OptionalText(
            "--nats-tls-ca-cert-path",
            "NATS_TLS_CA_CERT_PATH",
            help: "Path to PEM CA certificate for verifying the NATS server."
        ) with
        {
            Exported = true,
        };

    public static Option<bool> NatsTlsInsecure { get; } =
        Option.Boolean(
            "--nats-tls-insecure",
            "NATS_TLS_INSECURE",
            false,
            help: "Disable NATS TLS certificate verification. For local development only."
        ) with
        {
            Exported = true,
        };

    public static Option<string?> NatsTlsClientCertPath { get; } =
        Option.OptionalText(
            "--nats-tls-client-cert-path",
            "NATS_TLS_CLIENT_CERT_PATH",
            help: "Path to PEM client certificate presented to the NATS server for mTLS."
        ) with
        {
            Exported = true,
        };

    public static Option<string?> NatsTlsClientKeyPath { get; } =
        Option.OptionalText(
            "--nats-tls-client-key-path",
            "NATS_TLS_CLIENT_KEY_PATH",
            help: "Path to PEM private key for the NATS client certificate (mTLS)."
        ) with
        {
            Exported = true,
        };

    /// <summary>In the order of the help.</summary>
    public static IReadOnlyList<OptionDefinition> All { get; } =
    [
        Namespace,
        Endpoint,
        KvStateEndpoint,
        DiscoveryBackend,
        RequestPlane,
        ResponsePlane,
        EventPlane,
        FpmTrace,
        Connector,
        DynToolCallParser,
        DynReasoningParser,
        DynDefaultThinkingMode,
        ExcludeToolsWhenToolChoiceNone,
        DynEnableStructuralTag,
        DynStructuralTagScope,
        DynStructuralTagSchema,
        DynStructuralTag,
        CustomJinjaTemplate,
        EndpointTypes,
        DumpConfigTo,
        MultimodalEmbeddingCacheCapacityGb,
        MultimodalEmbeddingCachePublisher,
        OutputModalities,
        MediaOutputFsUrl,
        MediaOutputHttpUrl,
        HealthCheckPayload,
        EngineRequestLimit,
        TcpTlsCertPath,
        TcpTlsKeyPath,
        TcpTlsCaCertPath,
        TcpTlsInsecure,
        TcpTlsServerName,
        TcpTlsHandshakeTimeoutSeconds,
        TcpTlsClientCertPath,
        TcpTlsClientKeyPath,
        TcpTlsClientCaCertPath,
        NatsTlsCaCertPath,
        NatsTlsInsecure,
        NatsTlsClientCertPath,
        NatsTlsClientKeyPath,
    ];
}
