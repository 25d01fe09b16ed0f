using Dynamo.Vllm.Worker.CommandLine.Parsing;

namespace Dynamo.Vllm.Worker.CommandLine;

/// <summary>The values of the group "Dynamo Runtime Options", one property per destination.</summary>
/// <remarks>
/// Raw: variables are not checked against the allowed words, and nothing is resolved yet. Meanings are in the help texts of
/// <see cref="Options.RuntimeOptionTable"/>.
/// </remarks>
public sealed record RuntimeOptions
{
    public required string Namespace { get; init; }

    public string? Endpoint { get; init; }

    public string? KvStateEndpoint { get; init; }

    public required string DiscoveryBackend { get; init; }

    public required string RequestPlane { get; init; }

    public required string ResponsePlane { get; init; }

    public string? EventPlane { get; init; }

    public required bool FpmTrace { get; init; }

    public required IReadOnlyList<string> Connector { get; init; }

    public string? DynToolCallParser { get; init; }

    public string? DynReasoningParser { get; init; }

    public string? DynDefaultThinkingMode { get; init; }

    public required bool ExcludeToolsWhenToolChoiceNone { get; init; }

    public bool? DynEnableStructuralTag { get; init; }

    public string? DynStructuralTagScope { get; init; }

    public string? DynStructuralTagSchema { get; init; }

    public StructuralTagSetting? DynStructuralTag { get; init; }

    public string? CustomJinjaTemplate { get; init; }

    public required string EndpointTypes { get; init; }

    public string? DumpConfigTo { get; init; }

    public required double MultimodalEmbeddingCacheCapacityGb { get; init; }

    public required bool MultimodalEmbeddingCachePublisher { get; init; }

    public required IReadOnlyList<string> OutputModalities { get; init; }

    public required string MediaOutputFsUrl { get; init; }

    public string? MediaOutputHttpUrl { get; init; }

    public string? HealthCheckPayload { get; init; }

    public long? EngineRequestLimit { get; init; }

    public string? TcpTlsCertPath { get; init; }

    public string? TcpTlsKeyPath { get; init; }

    public string? TcpTlsCaCertPath { get; init; }

    public required bool TcpTlsInsecure { get; init; }

    public string? TcpTlsServerName { get; init; }

    public long? TcpTlsHandshakeTimeoutSeconds { get; init; }

    public string? TcpTlsClientCertPath { get; init; }

    public string? TcpTlsClientKeyPath { get; init; }

    public string? TcpTlsClientCaCertPath { get; init; }

    public string? NatsTlsCaCertPath { get; init; }

    public required bool NatsTlsInsecure { get; init; }

    public string? NatsTlsClientCertPath { get; init; }

    public string? NatsTlsClientKeyPath { get; init; }

    /// <summary>Every value by its destination name, for the configuration dump.</summary>
    public required IReadOnlyDictionary<string, object?> ByDestination { get; init; }

    internal static RuntimeOptions From(ParsedValues values) =>
        new()
        {
            Namespace = values.RequiredText("namespace"),
            Endpoint = values.Text("endpoint"),
            KvStateEndpoint = values.Text("kv_state_endpoint"),
            DiscoveryBackend = values.RequiredText("discovery_backend"),
            RequestPlane = values.RequiredText("request_plane"),
            ResponsePlane = values.RequiredText("response_plane"),
            EventPlane = values.Text("event_plane"),
            FpmTrace = values.Flag("fpm_trace"),
            Connector = values.Words("connector"),
            DynToolCallParser = values.Text("dyn_tool_call_parser"),
            DynReasoningParser = values.Text("dyn_reasoning_parser"),
            DynDefaultThinkingMode = values.Text("dyn_default_thinking_mode"),
            ExcludeToolsWhenToolChoiceNone = values.Flag("exclude_tools_when_tool_choice_none"),
            DynEnableStructuralTag = values.OptionalFlag("dyn_enable_structural_tag"),
            DynStructuralTagScope = values.Text("dyn_structural_tag_scope"),
            DynStructuralTagSchema = values.Text("dyn_structural_tag_schema"),
            DynStructuralTag = values.Object<StructuralTagSetting>("dyn_structural_tag"),
            CustomJinjaTemplate = values.Text("custom_jinja_template"),
            EndpointTypes = values.RequiredText("endpoint_types"),
            DumpConfigTo = values.Text("dump_config_to"),
            MultimodalEmbeddingCacheCapacityGb = values.Float("multimodal_embedding_cache_capacity_gb"),
            MultimodalEmbeddingCachePublisher = values.Flag("multimodal_embedding_cache_publisher"),
            OutputModalities = values.Words("output_modalities"),
            MediaOutputFsUrl = values.RequiredText("media_output_fs_url"),
            MediaOutputHttpUrl = values.Text("media_output_http_url"),
            HealthCheckPayload = values.Text("health_check_payload"),
            EngineRequestLimit = values.OptionalInteger("engine_request_limit"),
            TcpTlsCertPath = values.Text("tcp_tls_cert_path"),
            TcpTlsKeyPath = values.Text("tcp_tls_key_path"),
            TcpTlsCaCertPath = values.Text("tcp_tls_ca_cert_path"),
            TcpTlsInsecure = values.Flag("tcp_tls_insecure"),
            TcpTlsServerName = values.Text("tcp_tls_server_name"),
            TcpTlsHandshakeTimeoutSeconds = values.OptionalInteger("tcp_tls_handshake_timeout_secs"),
            TcpTlsClientCertPath = values.Text("tcp_tls_client_cert_path"),
            TcpTlsClientKeyPath = values.Text("tcp_tls_client_key_path"),
            TcpTlsClientCaCertPath = values.Text("tcp_tls_client_ca_cert_path"),
            NatsTlsCaCertPath = values.Text("nats_tls_ca_cert_path"),
            NatsTlsInsecure = values.Flag("nats_tls_insecure"),
            NatsTlsClientCertPath = values.Text("nats_tls_client_cert_path"),
            NatsTlsClientKeyPath = values.Text("nats_tls_client_key_path"),
            ByDestination = values.All,
        };
}
