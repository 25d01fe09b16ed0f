using System.Globalization;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Configuration.Rules;

/// <summary>Step 2: which role this worker has, and what that role excludes.</summary>
internal sealed class RoleRules(HostFacts facts) : ConfigurationRules(facts)
{
    /// <summary>More cost a lease each and serve nobody better: one process answers for all of them.</summary>
    public const int EmbeddingProcessesMax = 256;

    private const int PortMax = 65535;

    private static readonly CultureInfo Invariant = CultureInfo.InvariantCulture;

    // A left-over variable of a removed flag would otherwise start the worker in the wrong role without a word.
    private static readonly (string Variable, string Replacement)[] RemovedVariables =
    [
        ("DYN_VLLM_MULTIMODAL_ENCODE_WORKER", "--disaggregation-mode=encode"),
        ("DYN_VLLM_MULTIMODAL_WORKER", "--disaggregation-mode=agg or --disaggregation-mode=prefill"),
        ("DYN_VLLM_MULTIMODAL_DECODE_WORKER", "--disaggregation-mode=decode"),
    ];

    public void RejectRemovedVariables()
    {
        foreach (var (variable, replacement) in RemovedVariables)
        {
            Refuse(
                PythonText.IsTruthy(Variable(variable) ?? string.Empty),
                $"{variable} is no longer supported; use --enable-multimodal with {replacement} "
                    + "(env: DYN_VLLM_ENABLE_MULTIMODAL, DYN_VLLM_DISAGGREGATION_MODE)."
            );
        }
    }

    public DisaggregationMode ParseMode(string? word) =>
        word switch
        {
            null or "agg" or "pd" => DisaggregationMode.Aggregated,
            "prefill" => DisaggregationMode.Prefill,
            "decode" => DisaggregationMode.Decode,
            "encode" => DisaggregationMode.Encode,
            _ => throw new ConfigurationException(
                $"DYN_VLLM_DISAGGREGATION_MODE: {Quote(word)} is not a valid DisaggregationMode (one of pd, agg, prefill, decode, encode)"
            ),
        };

    /// <summary>Of the other roles a request's own protocol says what it is for, and theirs is Dynamo's.</summary>
    public static void CheckGrpcRequests(ConfigurationDraft draft)
    {
        if (!draft.Options.Get(OwnOptions.GrpcRequests))
        {
            return;
        }

        var (grpc, options) = (OwnOptions.GrpcRequests.Flags[0], draft.Options);
        Refuse(
            draft.Mode != DisaggregationMode.Aggregated,
            $"{grpc} cannot be combined with --disaggregation-mode {Word(draft.Mode)}: a client of that contract says itself what is "
                + "prefilled and what is decoded"
        );
        Refuse(options.Get(VllmOptions.EmbeddingWorker), $"{grpc} cannot be combined with --embedding-worker: it generates nothing");
        Refuse(options.Get(VllmOptions.ClassifyWorker), $"{grpc} cannot be combined with --classify-worker: it generates nothing");
    }

    public void CheckTransferMode(string word) =>
        Refuse(
            word is not ("local" or "nixl-write" or "nixl-read"),
            $"DYN_VLLM_EMBEDDING_TRANSFER_MODE: {Quote(word)} is not a valid EmbeddingTransferMode (one of local, nixl-write, nixl-read)"
        );

    public void CheckEmbedding(ConfigurationDraft draft)
    {
        var options = draft.Options;
        if (options.Get(VllmOptions.EmbeddingFrontendTokenization))
        {
            Refuse(!options.Get(VllmOptions.EmbeddingWorker), "--embedding-frontend-tokenization requires --embedding-worker.");
            Refuse(
                options.Get(VllmOptions.UseVllmTokenizer),
                "--embedding-frontend-tokenization cannot be combined with --use-vllm-tokenizer."
            );
        }

        if (!options.Get(VllmOptions.EmbeddingWorker))
        {
            return;
        }

        Refuse(
            draft.Mode != DisaggregationMode.Aggregated,
            $"--embedding-worker is only valid with --disaggregation-mode=agg (got {Word(draft.Mode)}). "
                + "Pooling models do not have prefill/decode phases."
        );
        Refuse(options.Get(VllmOptions.EnableMultimodal), "--embedding-worker cannot be combined with multimodal flags.");
        Refuse(
            options.Get(VllmOptions.BenchmarkMode) is not null,
            "--embedding-worker cannot be combined with --benchmark-mode. Benchmark mode injects InstrumentedScheduler, which is a "
                + "generation scheduler and not compatible with pooling engines. Embedding workers do not run generation, so "
                + "prefill/decode benchmark sweeps are not meaningful."
        );
    }

    public void CheckEmbeddingProcesses(ConfigurationDraft draft)
    {
        var options = draft.Options;
        const string many = "--embedding-worker-processes greater than 1";
        Refuse(options.Get(VllmOptions.EmbeddingWorkerProcesses) < 1, "--embedding-worker-processes must be at least 1.");
        if (options.Get(VllmOptions.EmbeddingWorkerProcesses) == 1)
        {
            return;
        }

        Refuse(!options.Get(VllmOptions.EmbeddingWorker), $"{many} requires --embedding-worker.");
        Refuse(
            options.Get(VllmOptions.Headless),
            $"{many} cannot be combined with --headless. Shared-EngineCore processes serve Dynamo embedding endpoints and therefore "
                + "require the runtime."
        );
        Refuse(
            Variable("ENGINE_ID") is { } engine && IsSet("FAILOVER_LOCK_PATH") && Variable("CONTAINER_NAME") == $"engine-{engine}",
            $"{many} cannot currently be combined with intra-pod failover. The operator assigns adjacent DYN_SYSTEM_PORT values to "
                + "engine containers, so their embedding process port ranges would overlap."
        );
        Refuse(
            draft.Options.Get(RuntimeOptions.RequestPlane) == "tcp" && FixedPort("DYN_TCP_RPC_PORT") is not null,
            "DYN_TCP_RPC_PORT cannot be fixed when --embedding-worker-processes is greater than 1 because every endpoint process "
                + "needs a unique TCP RPC listener. Unset DYN_TCP_RPC_PORT to use OS-assigned ports."
        );
        var processes = options.Get(VllmOptions.EmbeddingWorkerProcesses);
        CheckPortReservations(processes);
        Refuse(processes > EmbeddingProcessesMax, $"--embedding-worker-processes is {processes}, the limit is {EmbeddingProcessesMax}.");
        draft.Notes.Add(
            $"--embedding-worker-processes {processes}: one process serves all {processes} instances of the endpoint; the status ports "
                + "beside DYN_SYSTEM_PORT answer probes, and no series of metrics"
        );
    }

    private void CheckPortReservations(long processes)
    {
        var reservations = new List<(string Name, long First, long Last)>();
        if (FixedPort("DYN_SYSTEM_PORT") is { } systemPort)
        {
            var last = systemPort + processes - 1;
            Refuse(
                last > PortMax,
                $"DYN_SYSTEM_PORT={systemPort} with --embedding-worker-processes {processes} needs ports {systemPort}-{last}, which "
                    + $"exceeds the maximum port {PortMax}. Lower DYN_SYSTEM_PORT or reduce the process count."
            );
            reservations.Add(("DYN_SYSTEM_PORT", systemPort, last));
        }

        if (FixedPort(MetricsPortVariable) is { } metricsPort)
        {
            reservations.Add((MetricsPortVariable, metricsPort, metricsPort));
        }

        if (NixlTelemetryPort.Read(Facts.Environment) is { } telemetryPort)
        {
            reservations.Add((NixlTelemetryPort.PortVariable, telemetryPort, telemetryPort));
        }

        for (var i = 0; i < reservations.Count; i++)
        {
            var left = reservations[i];
            foreach (var right in reservations.Skip(i + 1).Where(right => left.First <= right.Last && right.First <= left.Last))
            {
                throw new ConfigurationException(
                    $"embedding worker port reservations overlap: {left.Name} reserves {Ports(left.First, left.Last)}, while "
                        + $"{right.Name} reserves {Ports(right.First, right.Last)}. Configure non-overlapping ports."
                );
            }
        }

        static string Ports(long first, long last) => first == last ? first.ToString(Invariant) : $"{first}-{last}";
    }

    public void CheckRealtime(ConfigurationDraft draft)
    {
        var options = draft.Options;
        if (!options.Get(VllmOptions.Realtime))
        {
            return;
        }

        Refuse(
            draft.Mode != DisaggregationMode.Aggregated,
            $"--realtime is only valid with --disaggregation-mode=agg (got {Word(draft.Mode)})."
        );
        foreach (
            var (excluded, flag) in new[]
            {
                (options.Get(VllmOptions.EmbeddingWorker), "--embedding-worker"),
                (options.Get(VllmOptions.ClassifyWorker), "--classify-worker"),
                (!string.IsNullOrEmpty(options.Get(VllmOptions.CustomEncoderClass)), "--custom-encoder-class"),
                (options.Get(VllmOptions.GmsShadowMode), "--gms-shadow-mode"),
                (options.Get(VllmOptions.EnableRl), "--enable-rl"),
                (options.Get(VllmOptions.Headless), "--headless"),
                (options.Get(VllmOptions.EnableMultimodal), "multimodal worker flags"),
                (options.Get(VllmOptions.BenchmarkMode) is not null, "--benchmark-mode"),
                (draft.Engine.EnableLora, "--enable-lora"),
            }
        )
        {
            Refuse(excluded, $"--realtime cannot be combined with {flag}.");
        }
    }

    public void CheckClassify(ConfigurationDraft draft)
    {
        var options = draft.Options;
        if (!options.Get(VllmOptions.ClassifyWorker))
        {
            return;
        }

        Refuse(
            options.Get(VllmOptions.EmbeddingWorker),
            "--classify-worker and --embedding-worker are mutually exclusive; a worker registers exactly one pooling model type."
        );
        Refuse(
            draft.Mode != DisaggregationMode.Aggregated,
            $"--classify-worker is only valid with --disaggregation-mode=agg (got {Word(draft.Mode)}). "
                + "Pooling models do not have prefill/decode phases."
        );
        Refuse(options.Get(VllmOptions.EnableMultimodal), "--classify-worker cannot be combined with multimodal flags.");
        Refuse(
            options.Get(VllmOptions.BenchmarkMode) is not null,
            "--classify-worker cannot be combined with --benchmark-mode. Benchmark mode injects InstrumentedScheduler, which is a "
                + "generation scheduler and not compatible with pooling engines."
        );
        Refuse(
            options.Get(VllmOptions.Headless),
            "--classify-worker cannot be combined with --headless. Headless mode returns before WorkerFactory.create(), so the "
                + "classify/pooling endpoint would never be registered."
        );
        Refuse(
            draft.Engine.EnableLora,
            "--classify-worker cannot be combined with --enable-lora. The pooling-family handler does not forward lora_request to "
                + "engine_client.encode(), so an adapter-targeted request would silently run against the base model."
        );
    }

    public void CheckCustomEncoder(ConfigurationDraft draft)
    {
        var options = draft.Options;
        if (string.IsNullOrEmpty(options.Get(VllmOptions.CustomEncoderClass)))
        {
            return;
        }

        Refuse(
            !options.Get(VllmOptions.EnableMultimodal),
            "--custom-encoder-class requires --enable-multimodal (the custom encoder is a multimodal component)."
        );
        Refuse(
            options.Get(VllmOptions.UseVllmTokenizer),
            "--custom-encoder-class is incompatible with --use-vllm-tokenizer: the custom encoder is wired into the "
                + "token-in/token-out path, which --use-vllm-tokenizer bypasses (text mode), so the encoder would load but never run."
        );
        Refuse(
            options.Get(VllmOptions.FrontendDecoding),
            "--custom-encoder-class is incompatible with --frontend-decoding: the custom encoder consumes image URLs, but frontend "
                + "decoding pre-decodes images to tensors the encoder cannot accept."
        );
        Refuse(
            draft.Mode != DisaggregationMode.Aggregated,
            $"--custom-encoder-class is only supported with --disaggregation-mode=agg (got {Word(draft.Mode)}). The custom encoder "
                + "runs in-process in a single aggregated worker."
        );
    }

    /// <summary>A port in the environment that will really be bound; null when unset, switched off or unreadable.</summary>
    private long? FixedPort(string variable) =>
        Variable(variable) is { } text && PythonText.TryParseInteger(text, out var port) && port is > 0 and <= PortMax ? port : null;
}
