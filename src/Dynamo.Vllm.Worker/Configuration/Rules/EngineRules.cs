using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Configuration.Rules;

/// <summary>Steps 3, 5 and 6: this worker's options against vLLM's, and what vLLM is told in return.</summary>
internal sealed class EngineRules(HostFacts facts, BenchmarkRules benchmark) : ConfigurationRules(facts)
{
    // Ports the IANA lists as registered; ephemeral ports above could be taken by any client socket before the engine binds.
    private const int MetricsPortMin = 1024;
    private const int MetricsPortMax = 49151;

    /// <summary>Flags of vLLM that no worker of Dynamo lets pass.</summary>
    private static readonly (string Destination, string Reason)[] SwitchedOff =
    [
        ("skip_tokenizer_init", "vLLM needs its tokenizer for stop strings"),
        ("enable_log_requests", "request logs would hold prompts"),
        ("disable_log_stats", "the load signal and the metrics need the statistics"),
    ];

    public void CheckAgainstEngine(ConfigurationDraft draft)
    {
        var (options, engine) = (draft.Options, draft.Engine);
        if (engine.StreamInterval != 1)
        {
            draft.Notes.Add(
                $"--stream-interval={engine.StreamInterval} will be propagated to the Dynamo frontend. "
                    + "Set DYN_VLLM_STREAM_INTERVAL env var to override."
            );
        }

        Refuse(
            options.Get(VllmOptions.GmsShadowMode) && engine.LoadFormat != "gms",
            "--gms-shadow-mode requires --load-format gms. Shadow mode depends on GMS for VA-stable weight sharing."
        );
        if (options.Get(VllmOptions.EmbeddingWorkerProcesses) > 1)
        {
            Refuse(
                engine.DataParallelSize != 1,
                "--embedding-worker-processes greater than 1 currently requires --data-parallel-size=1. The embedding process pool "
                    + "shares one local EngineCore."
            );
            Refuse(
                engine.EnableLora,
                "--embedding-worker-processes greater than 1 cannot currently be combined with --enable-lora. Runtime LoRA state is "
                    + "not synchronized across embedding endpoint processes."
            );
        }
    }

    public void ResolvePrefixCaching(ConfigurationDraft draft)
    {
        if (draft.Engine.EnablePrefixCaching is { } given)
        {
            draft.EnablePrefixCaching = given;
            return;
        }

        // Pooling engines never decode, so caching buys nothing there, and some of their models cannot run with it.
        draft.EnablePrefixCaching = !draft.Options.Get(VllmOptions.EmbeddingWorker) && !draft.Options.Get(VllmOptions.ClassifyWorker);
        draft.Overrides["enable_prefix_caching"] = draft.EnablePrefixCaching;
    }

    public void ResolveEngineOverrides(ConfigurationDraft draft)
    {
        var (options, engine) = (draft.Options, draft.Engine);

        foreach (var (destination, reason) in SwitchedOff)
        {
            draft.Overrides[destination] = false;
            if (engine.IsOn(destination))
            {
                draft.Warnings.Add($"--{destination.Replace('_', '-')} has no effect: {reason}");
            }
        }

        ResolveKvEvents(draft);
        ResolveScheduler(draft);
        benchmark.CheckBenchmarkEngine(draft);
        if (draft.ServedModelNames.Count == 0)
        {
            draft.Overrides["served_model_name"] = engine.Model;
        }

        if (Variable("DYN_GMS_USE_V1") == "true")
        {
            Refuse(engine.LoadFormat == "gms", "DYN_GMS_USE_V1=true cannot be combined with --load-format gms");
            draft.Overrides["worker_cls"] = "gpu_memory_service.v1.integrations.vllm.worker.GMSV1Worker";
            draft.Overrides["enable_sleep_mode"] = true;
        }

        if (options.Get(VllmOptions.FrontendDecoding))
        {
            draft.Warnings.Add(
                "--frontend-decoding has no effect: this worker takes no media that the frontend decoded, so its card asks for none; "
                    + "it fetches and decodes media itself"
            );
        }

        if (options.Get(VllmOptions.BenchmarkMode) is not null && options.Get(VllmOptions.EnableMultimodal))
        {
            draft.Warnings.Add(
                "--benchmark-mode is not supported for multimodal workers. Benchmark data will be collected but not served via endpoint."
            );
        }
    }

    private static void ResolveKvEvents(ConfigurationDraft draft)
    {
        if (draft.Engine.KvEventsConfig is not { } events)
        {
            return;
        }

        if (!draft.EnablePrefixCaching)
        {
            draft.Overrides["kv_events_config"] = null;
            draft.Notes.Add("No kv_events_config required: prefix caching is disabled");
            return;
        }

        draft.UseKvEvents = events["enable_kv_cache_events"]?.GetValueKind() == JsonValueKind.True;
        if (!draft.UseKvEvents)
        {
            draft.Warnings.Add(
                "User provided --kv_events_config which set enable_kv_cache_events to False (default). "
                    + "To publish events, explicitly set enable_kv_cache_events to True."
            );
        }
    }

    private void ResolveScheduler(ConfigurationDraft draft)
    {
        var byPort = IsSet(MetricsPortVariable);
        draft.ForwardPassMetrics = IsRelayedByPort(draft, byPort) || (draft.Options.Get(RuntimeOptions.FpmTrace) && TraceIsRelayed(draft));
        if (draft.ForwardPassMetrics)
        {
            draft.ForwardPassMetricsPort = MetricsPort(draft.ForwardPassMetricsPort);
        }

        if (draft.ForwardPassMetrics && draft.Engine.SchedulerClass is { } scheduler)
        {
            var source = byPort ? $"{MetricsPortVariable} is set" : "--fpm-trace/DYN_FPM_TRACE is enabled";
            draft.Warnings.Add(
                $"{source} but scheduler_cls is already '{scheduler}'. InstrumentedScheduler will NOT be injected. To use forward pass "
                    + "metrics, either remove --scheduler-cls or subclass InstrumentedScheduler."
            );
        }
        else if (
            draft.Engine.SchedulerClass is null
            && (draft.ForwardPassMetrics || draft.Options.Get(VllmOptions.BenchmarkMode) is not null)
        )
        {
            draft.Overrides["scheduler_cls"] = InstrumentedScheduler;
        }
    }

    /// <summary>The instrumented scheduler drops what a pooling request asks for, and nobody would relay what it counts.</summary>
    private static bool IsRelayedByPort(ConfigurationDraft draft, bool byPort)
    {
        var pools = draft.Options.Get(VllmOptions.EmbeddingWorker) || draft.Options.Get(VllmOptions.ClassifyWorker);
        if (!byPort || !pools)
        {
            return byPort;
        }

        draft.Warnings.Add($"{MetricsPortVariable} has no effect: pooling workers relay no forward-pass metrics");
        return false;
    }

    private static bool TraceIsRelayed(ConfigurationDraft draft)
    {
        var options = draft.Options;
        var role =
            options.Get(VllmOptions.EmbeddingWorker) ? "embedding"
            : options.Get(VllmOptions.ClassifyWorker) ? "classify"
            : options.Get(VllmOptions.Headless) ? "headless"
            : draft.Mode == DisaggregationMode.Encode ? "multimodal encode"
            : null;
        if (role is not null)
        {
            draft.Warnings.Add(
                $"--fpm-trace/DYN_FPM_TRACE is enabled, but vLLM {role} workers do not create a Dynamo FPM relay. Trace-based FPM "
                    + "activation is disabled for this worker."
            );
        }

        return role is null;
    }

    private int MetricsPort(int defaultPort)
    {
        if (Variable(MetricsPortVariable) is not { } text)
        {
            return defaultPort;
        }

        Refuse(
            !PythonText.TryParseInteger(text, out var port),
            $"{MetricsPortVariable} must be an integer port number, got {Quote(text)}."
        );
        Refuse(
            port is < MetricsPortMin or > MetricsPortMax,
            $"{MetricsPortVariable} port {port} is outside of the registered port range ({MetricsPortMin}-{MetricsPortMax})."
        );
        return (int)port;
    }

    public void ResolveReinforcementLearning(ConfigurationDraft draft)
    {
        const string processed = "processed_logprobs";
        var mode = draft.Engine.LogprobsMode;
        if (!draft.Options.Get(VllmOptions.EnableRl))
        {
            return;
        }

        // Trainers count this worker's processes: those of other ranks would stay without the new weights.
        Refuse(
            draft.Engine.DataParallelSize != 1 || draft.Engine.ExecutorBackend == "external_launcher",
            "Dynamo vLLM RL currently does not support data parallelism and external launcher"
        );
        if (mode == processed)
        {
            return;
        }

        // "raw_logprobs" is vLLM's default, so it cannot be told from a choice of the user's.
        Refuse(mode != "raw_logprobs", $"--enable-rl requires logprobs_mode={processed}; got {Quote(mode)}.");
        draft.Overrides["logprobs_mode"] = processed;
        draft.Notes.Add($"Defaulting logprobs_mode={processed} (--enable-rl active).");
    }

    public void CheckSnapshot(OptionValues options)
    {
        if (string.IsNullOrEmpty(Variable(SnapshotVariable)))
        {
            return;
        }

        Refuse(
            options.Get(VllmOptions.EmbeddingWorkerProcesses) > 1,
            $"--embedding-worker-processes greater than 1 is incompatible with checkpoint mode ({SnapshotVariable} is set)."
        );
        Refuse(options.Get(VllmOptions.Headless), $"--headless is incompatible with checkpoint mode ({SnapshotVariable} is set).");
    }
}
