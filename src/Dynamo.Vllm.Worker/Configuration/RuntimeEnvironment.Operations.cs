using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>The HTTP server for health, metrics and engine control.</summary>
public sealed record SystemServerEnvironment
{
    // The reference holds the port in 16 signed bits and refuses ports above 32767. Accepting them hurts nobody.
    private const int PortMax = 65535;

    /// <summary>Minus one: no server. Zero: the system chooses.</summary>
    public int Port { get; init; } = -1;

    public string Host { get; init; } = "0.0.0.0";

    public string HealthPath { get; init; } = "/health";

    public string LivePath { get; init; } = "/live";

    /// <summary>The status before anything is known. Matters only while no endpoint has a health payload.</summary>
    public bool StartsReady { get; init; }

    /// <summary>Deprecated: a list of endpoints that alone decide the status, as raw text. Null when not set.</summary>
    public string? EndpointsThatDecide { get; init; }

    public bool IsEnabled => Port >= 0;

    internal static SystemServerEnvironment Read(EnvironmentReader reader)
    {
        if (reader.IsSet("DYN_SYSTEM_ENABLED"))
        {
            reader.Warnings.Add("DYN_SYSTEM_ENABLED is deprecated and ignored; DYN_SYSTEM_PORT alone switches the system server");
        }

        if (reader.IsSet("DYN_SYSTEM_USE_ENDPOINT_HEALTH_STATUS"))
        {
            reader.Warnings.Add("DYN_SYSTEM_USE_ENDPOINT_HEALTH_STATUS is deprecated; endpoints with a health payload count by themselves");
        }

        return new SystemServerEnvironment
        {
            Port = ReadPort(reader),
            Host = reader.Text("DYN_SYSTEM_HOST") ?? "0.0.0.0",
            HealthPath = ReadPath(reader, "DYN_SYSTEM_HEALTH_PATH", "/health"),
            LivePath = ReadPath(reader, "DYN_SYSTEM_LIVE_PATH", "/live"),
            EndpointsThatDecide = reader.Text("DYN_SYSTEM_USE_ENDPOINT_HEALTH_STATUS"),
            StartsReady = reader.Text("DYN_SYSTEM_STARTING_HEALTH_STATUS")?.Trim().ToLowerInvariant() switch
            {
                null or "notready" => false,
                "ready" => true,
                var word => throw new ConfigurationException(
                    $"DYN_SYSTEM_STARTING_HEALTH_STATUS={PythonText.Quote(word)}: expected ready or notready"
                ),
            },
        };
    }

    private static int ReadPort(EnvironmentReader reader)
    {
        if (reader.Text("DYN_SYSTEM_PORT") is not { } text)
        {
            return -1;
        }

        if (!PythonText.TryParseInteger(text, out var port) || port > PortMax)
        {
            throw new ConfigurationException(
                $"DYN_SYSTEM_PORT={PythonText.Quote(text)}: expected a port up to {PortMax}, or -1 for no server"
            );
        }

        return (int)Math.Max(port, -1);
    }

    private static string ReadPath(EnvironmentReader reader, string variable, string defaultValue)
    {
        var path = reader.Text(variable) ?? defaultValue;
        return path[0] == '/' ? path : "/" + path;
    }
}

/// <summary>Canaries, and the watch over the engine process.</summary>
public sealed record HealthEnvironment
{
    /// <summary>Idle endpoints are probed with a request of our own.</summary>
    public bool CanariesEnabled { get; init; }

    public TimeSpan CanaryIdle { get; init; } = TimeSpan.FromSeconds(10);

    public TimeSpan CanaryTimeout { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>A JSON object, or <c>@</c> and a path; null means the worker's own payload. Parsed by its user.</summary>
    public string? Payload { get; init; }

    public TimeSpan EngineCheckInterval { get; init; } = TimeSpan.FromSeconds(2);

    public TimeSpan EngineCheckTimeout { get; init; } = TimeSpan.FromSeconds(30);

    public TimeSpan EngineShutdownTimeout { get; init; } = TimeSpan.FromSeconds(60);

    internal static HealthEnvironment Read(EnvironmentReader reader) =>
        new()
        {
            CanariesEnabled = reader.Flag("DYN_HEALTH_CHECK_ENABLED"),
            CanaryIdle = reader.PositiveSeconds("DYN_CANARY_WAIT_TIME", 10),
            CanaryTimeout = reader.PositiveSeconds("DYN_HEALTH_CHECK_REQUEST_TIMEOUT", 3),
            Payload = reader.Text("DYN_HEALTH_CHECK_PAYLOAD"),
            EngineCheckInterval = reader.PositiveSeconds("DYN_ENGINE_HEALTH_CHECK_INTERVAL", 2),
            EngineCheckTimeout = reader.PositiveSeconds("DYN_ENGINE_HEALTH_CHECK_TIMEOUT", 30),
            EngineShutdownTimeout = reader.PositiveSeconds("DYN_ENGINE_HEALTH_SHUTDOWN_TIMEOUT", 60),
        };
}

/// <summary>Time budgets of a graceful stop.</summary>
public sealed record ShutdownEnvironment
{
    /// <summary>Between withdrawing from discovery and refusing requests.</summary>
    public TimeSpan GracePeriod { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>For requests in flight once no new ones are taken.</summary>
    public TimeSpan DrainTimeout { get; init; } = TimeSpan.FromSeconds(900);

    internal static ShutdownEnvironment Read(EnvironmentReader reader) =>
        new()
        {
            GracePeriod = reader.Seconds("DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS", 5),
            DrainTimeout = reader.Seconds("DYN_RUNTIME_GRACEFUL_SHUTDOWN_TIMEOUT_SECS", 900),
        };
}

/// <summary>How log lines look and which are written.</summary>
public sealed record LoggingEnvironment
{
    /// <summary>A level, or a filter such as <c>info,dynamo_runtime=debug</c>; null means info.</summary>
    public string? Filter { get; init; }

    /// <summary>One JSON object a line.</summary>
    public bool JsonLines { get; init; }

    public bool DisableAnsi { get; init; }

    /// <summary>Level of vLLM's own loggers.</summary>
    public string VllmLevel { get; init; } = "INFO";

    internal static LoggingEnvironment Read(EnvironmentReader reader) =>
        new()
        {
            Filter = reader.Text("DYN_LOG"),
            JsonLines = reader.Text("DYN_LOGGING_CONSOLE_FORMAT")?.Trim().ToLowerInvariant() switch
            {
                "jsonl" => true,
                "readable" => false,
                _ => reader.Flag("DYN_LOGGING_JSONL"),
            },
            DisableAnsi = reader.Flag("DYN_SDK_DISABLE_ANSI_LOGGING"),
            VllmLevel = reader.Text("VLLM_LOGGING_LEVEL") ?? "INFO",
        };
}

/// <summary>Where this worker stands in the cluster, for transfers between prefill and decode.</summary>
public sealed record TopologyEnvironment
{
    public bool Enabled { get; init; }

    /// <summary>Each file in it is one domain: its name, and the value as content.</summary>
    public string MountPath { get; init; } = "/etc/dynamo/topology";

    /// <summary>Present whenever <see cref="Enabled"/>.</summary>
    public string? TransferDomain { get; init; }

    public string TransferEnforcement { get; init; } = "required";

    /// <summary>Raw text; checked by its user against the enforcement.</summary>
    public string? PreferredWeight { get; init; }

    internal static TopologyEnvironment Read(EnvironmentReader reader)
    {
        var values = new TopologyEnvironment
        {
            Enabled = reader.Flag("DYN_TOPOLOGY_ENABLED"),
            MountPath = reader.Text("DYN_TOPOLOGY_MOUNT_PATH") ?? "/etc/dynamo/topology",
            TransferDomain = reader.Text("DYN_KV_TRANSFER_DOMAIN"),
            TransferEnforcement = reader.Text("DYN_KV_TRANSFER_ENFORCEMENT") ?? "required",
            PreferredWeight = reader.Text("DYN_KV_TRANSFER_PREFERRED_WEIGHT"),
        };
        return values is { Enabled: true, TransferDomain: null }
            ? throw new ConfigurationException("DYN_TOPOLOGY_ENABLED needs DYN_KV_TRANSFER_DOMAIN")
            : values;
    }
}

/// <summary>LoRA adapters loaded at run time.</summary>
public sealed record LoraEnvironment
{
    /// <summary>The system server offers its LoRA routes.</summary>
    public bool Enabled { get; init; }

    public string? Path { get; init; }

    public bool HotSwap { get; init; }

    internal static LoraEnvironment Read(EnvironmentReader reader) =>
        new()
        {
            Enabled = reader.Flag("DYN_LORA_ENABLED"),
            Path = reader.Text("DYN_LORA_PATH"),
            HotSwap = reader.Flag("DYN_LORA_HOTSWAP_ENABLED"),
        };
}
