namespace Dynamo.Vllm.Worker.Configuration.Options;

/// <summary>The group "Dynamo.Vllm Options": what this host adds to the reference's command line.</summary>
/// <remarks>Every variable starts with <c>DYN_VLLM_</c>, and no flag is the prefix of a flag of the reference or of vLLM.</remarks>
public static class OwnOptions
{
    // A day. Above it a time limit is a typing error, and TimeSpan arithmetic stays far from its own limits.
    private const double SecondsMax = 86400;
    public static Option<string?> Python { get; } =
        Option.OptionalText(
            "--python",
            "DYN_VLLM_PYTHON",
            help: "Python to embed: the path of an interpreter or of a virtual environment that holds vLLM. If unset, the first "
                + "python3 on PATH is used."
        );

    public static Option<bool> SimulatedEngine { get; } =
        Option.Boolean(
            "--simulated-engine",
            "DYN_VLLM_SIMULATED_ENGINE",
            false,
            help: "Serve the built-in simulated engine instead of vLLM. For tests and demonstrations; needs no GPU and no model weights."
        );

    public static Option<string> EngineDrive { get; } =
        Option.Text(
            "--engine-drive",
            "DYN_VLLM_ENGINE_DRIVE",
            "direct",
            choices: ["stock", "collector", "raw", "direct"],
            help: "How requests and outputs pass vLLM: 'direct' exchanges usual requests with the engine's process itself, and the rest "
                + "as 'raw'; 'raw' takes the tokens of each engine step in one batch, bypasses vLLM's output objects where a request "
                + "wants nothing but tokens, and prepares a request as vLLM prepared the last one with the same parameters; "
                + "'collector' bypasses nothing; 'stock' iterates vLLM's own generator per request, as the Python worker does."
        );

    public static Option<double> ItemInterval { get; } =
        Option.Float(
            "--item-interval",
            "DYN_VLLM_ITEM_INTERVAL_MS",
            0.0,
            help: "Milliseconds between two items of one response, at least: tokens that come meanwhile leave in one item, which costs "
                + "this worker and the frontend less. The first token and the end of a response never wait. 0 = a token leaves as soon "
                + "as it is there."
        ) with
        {
            Minimum = 0,
            Maximum = 1000,
        };

    public static Option<double> DrainTimeout { get; } =
        Option.Float(
            "--drain-timeout",
            "DYN_VLLM_DRAIN_TIMEOUT_SECS",
            30.0,
            help: "Seconds that accepted requests may keep generating once intake is closed. What is left then is aborted."
        ) with
        {
            Minimum = 0,
            Maximum = SecondsMax,
        };

    public static Option<double?> TerminationGracePeriod { get; } =
        Option.NullableFloat(
            "--termination-grace-period",
            "DYN_VLLM_TERMINATION_GRACE_PERIOD_SECS",
            help: "Seconds that whoever stops this process waits before it kills it: terminationGracePeriodSeconds of the pod, "
                + "TimeoutStopSec of systemd. Changes nothing; where a stop may take longer, one warning says so at the start."
        ) with
        {
            Minimum = 0,
            Maximum = SecondsMax,
        };

    public static Option<bool> LiveIsReady { get; } =
        Option.Boolean(
            "--live-is-ready",
            "DYN_VLLM_LIVE_IS_READY",
            false,
            help: "Answer /live like /health, as the Python worker does: 503 until the worker is ready."
        );

    public static Option<long?> GrpcPort { get; } =
        Option.NullableInteger(
            "--grpc-port",
            "DYN_VLLM_GRPC_PORT",
            help: "Port for gRPC on the status server's host (DYN_SYSTEM_HOST): grpc.health.v1 and reflection. The empty service name "
                + "answers like /health, 'live' like /live. Requests only with --grpc-requests. If unset, gRPC is not served."
        ) with
        {
            Minimum = 1,
            Maximum = 65535,
        };

    public static Option<bool> GrpcRequests { get; } =
        Option.Boolean(
            "--grpc-requests",
            "DYN_VLLM_GRPC_REQUESTS",
            false,
            help: "Serve requests on --grpc-port, too, in vLLM's two gRPC contracts: its own (vllm.Inference and vllm.Control), for its "
                + "clients and for Dynamo's sidecar, and vllm.grpc.engine.VllmEngine, for the gateway smg. Whoever reaches the port can "
                + "then use the model. Only with --disaggregation-mode agg."
        );

    public static Option<string?> SystemTokenFile { get; } =
        Option.OptionalText(
            "--system-token-file",
            "DYN_VLLM_SYSTEM_TOKEN_FILE",
            help: "File with a token of 16 characters or more. Control calls (/engine/..., /v1/loras, those of --grpc-requests that "
                + "change something) and the status page then need 'Authorization: Bearer TOKEN', or Basic with the token as password; "
                + "probes, metrics, metadata and requests do not. Read at each use, so that a renewed token counts at once. If unset, "
                + "they are open to whoever reaches the port, as in the Python worker."
        );

    public static Option<string?> SystemTlsCert { get; } =
        Option.OptionalText(
            "--system-tls-cert",
            "DYN_VLLM_SYSTEM_TLS_CERT",
            help: "PEM file with the certificate of the status port and of --grpc-port, intermediate ones after it; they then speak TLS "
                + "alone. A renewed file counts at once. Needs --system-tls-key."
        );

    public static Option<string?> SystemTlsKey { get; } =
        Option.OptionalText("--system-tls-key", "DYN_VLLM_SYSTEM_TLS_KEY", help: "PEM file with the key of --system-tls-cert.");

    public static Option<double> EngineFrozenTimeout { get; } =
        Option.Float(
            "--engine-frozen-timeout",
            "DYN_VLLM_ENGINE_FROZEN_TIMEOUT_SECS",
            4.0,
            help: "Seconds of silence after which an engine whose processes are stopped, or use neither CPU nor GPU, is taken out of "
                + "routing. After twice as long its running requests end with the error that lets the frontend continue them elsewhere."
        ) with
        {
            Minimum = 1,
            Maximum = SecondsMax,
        };

    public static Option<double> EngineBusyTimeout { get; } =
        Option.Float(
            "--engine-busy-timeout",
            "DYN_VLLM_ENGINE_BUSY_TIMEOUT_SECS",
            9.0,
            help: "The same for an engine that computes and says nothing; raised to four times its slowest recent step. Its running "
                + "requests end after about three times as long."
        ) with
        {
            Minimum = 1,
            Maximum = SecondsMax,
        };

    public static Option<double> EngineStallTimeout { get; } =
        Option.Float(
            "--engine-stall-timeout",
            "DYN_VLLM_ENGINE_STALL_TIMEOUT_SECS",
            60.0,
            help: "Seconds of silence after which an engine is taken out of routing even if it compiles or serves a control call. "
                + "After twice as long the process ends, whatever the engine does. 0 = no stall is looked for."
        ) with
        {
            Minimum = 0,
            Maximum = SecondsMax,
        };

    /// <summary>In the order of the help.</summary>
    public static IReadOnlyList<OptionDefinition> All { get; } =
    [
        Python,
        SimulatedEngine,
        EngineDrive,
        ItemInterval,
        DrainTimeout,
        TerminationGracePeriod,
        LiveIsReady,
        GrpcPort,
        GrpcRequests,
        SystemTokenFile,
        SystemTlsCert,
        SystemTlsKey,
        EngineFrozenTimeout,
        EngineBusyTimeout,
        EngineStallTimeout,
    ];
}
