using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.Worker.Configuration.Rules;

/// <summary>Step 2, last part: what the scheduler is to measure, and on what.</summary>
internal sealed class BenchmarkRules(HostFacts facts) : ConfigurationRules(facts)
{
    public void CheckBenchmark(ConfigurationDraft draft)
    {
        var options = draft.Options;
        Refuse(
            options.Get(VllmOptions.BenchmarkPointsFile) is not null && options.Get(VllmOptions.BenchmarkMode) is null,
            "--benchmark-points-file requires --benchmark-mode"
        );

        // Explicit points replace the generated grid, and with it everything that samples the grid.
        var samplesGrid = options.Get(VllmOptions.BenchmarkMode) is not null && options.Get(VllmOptions.BenchmarkPointsFile) is null;
        var samples = BenchmarkSampling.Limits.ToDictionary(limit => limit, limit => options.Get(limit.Option));
        if (samplesGrid)
        {
            foreach (var limit in BenchmarkSampling.Limits)
            {
                samples[limit] = ResolveLegacySampling(draft, limit);
            }
        }

        CheckBenchmarkState(options);
        if (options.Get(VllmOptions.BenchmarkMode) is null)
        {
            return;
        }

        foreach (var limit in BenchmarkSampling.Limits.OrderByDescending(limit => limit.LeastSamples).Where(_ => samplesGrid))
        {
            Refuse(
                samples[limit] < limit.LeastSamples,
                limit.LeastSamples > 1 ? $"{limit.Flag} must be at least {limit.LeastSamples}" : $"{limit.Flag} must be positive"
            );
        }

        Refuse(options.Get(VllmOptions.BenchmarkWarmupIterations) < 0, "--benchmark-warmup-iterations must be non-negative");
        Refuse(options.Get(VllmOptions.BenchmarkTimeoutSeconds) <= 0, "--benchmark-timeout must be positive");
        draft.Benchmark = Describe(options, samples);
    }

    /// <summary>As the scheduler reads it.</summary>
    private static JsonObject Describe(OptionValues options, Dictionary<BenchmarkSampling.Limit, long> samples)
    {
        var benchmark = new JsonObject
        {
            ["mode"] = options.Get(VllmOptions.BenchmarkMode),
            ["randomize_kda_state"] = options.Get(VllmOptions.BenchmarkRandomizeKdaState),
            ["hybrid_live_state"] = options.Get(VllmOptions.BenchmarkHybridLiveState),
            ["warmup_iterations"] = options.Get(VllmOptions.BenchmarkWarmupIterations),
            ["output_path"] = options.Get(VllmOptions.BenchmarkOutputPath),
            ["timeout"] = options.Get(VllmOptions.BenchmarkTimeoutSeconds),
            ["max_batch_size"] = options.Get(VllmOptions.BenchmarkMaxBatchSize),
            ["collect_imbalanced"] = options.Get(VllmOptions.BenchmarkCollectImbalanced),
        };
        foreach (var (limit, count) in samples)
        {
            benchmark[limit.Option.Destination] = count;
        }

        return benchmark;
    }

    private static long ResolveLegacySampling(ConfigurationDraft draft, BenchmarkSampling.Limit limit)
    {
        var value = draft.Options.Get(limit.Option);
        if (draft.Options.Get(limit.Legacy) is not { } legacy)
        {
            return value;
        }

        Refuse(legacy is < 1 or > 1024, $"{limit.LegacyFlag} must be between 1 and 1024");
        Refuse(draft.Options.IsExplicit(limit.Option), $"cannot combine {limit.LegacyFlag} with {limit.Flag}");
        var detail = legacy < limit.LeastSamples ? " Legacy value 1 maps to 2 so both axis endpoints are retained." : string.Empty;
        draft.Warnings.Add($"{limit.LegacyFlag} is deprecated; use {limit.Flag} instead.{detail}");
        return Math.Max(limit.LeastSamples, legacy);
    }

    private static void CheckBenchmarkState(OptionValues options)
    {
        Refuse(
            options.Get(VllmOptions.BenchmarkHybridLiveState) && options.Get(VllmOptions.BenchmarkRandomizeKdaState),
            "--benchmark-hybrid-live-state and --benchmark-randomize-kda-state are mutually exclusive"
        );
        var decodes = options.Get(VllmOptions.BenchmarkMode) is "decode" or "agg";
        Refuse(
            options.Get(VllmOptions.BenchmarkHybridLiveState) && !decodes,
            "--benchmark-hybrid-live-state requires --benchmark-mode decode or agg"
        );
        Refuse(
            options.Get(VllmOptions.BenchmarkRandomizeKdaState) && !decodes,
            "--benchmark-randomize-kda-state requires --benchmark-mode decode or agg"
        );
    }

    public void CheckBenchmarkEngine(ConfigurationDraft draft)
    {
        var (options, engine) = (draft.Options, draft.Engine);
        if (options.Get(VllmOptions.BenchmarkMode) is null)
        {
            return;
        }

        Refuse(
            engine.SchedulerClass is { } scheduler && !scheduler.Contains("InstrumentedScheduler", StringComparison.Ordinal),
            $"--benchmark-mode requires InstrumentedScheduler but --scheduler-cls is set to '{engine.SchedulerClass}'. Either remove "
                + "--scheduler-cls or use a subclass of InstrumentedScheduler."
        );
        const string extension = "dynamo.vllm.gc_policy.FpmGcWorkerExtension";
        Refuse(
            Variable("DYN_FPM_GC_POLICY")?.Trim().ToLowerInvariant() == "freeze"
                && !string.IsNullOrEmpty(engine.WorkerExtensionClass)
                && engine.WorkerExtensionClass != extension,
            $"DYN_FPM_GC_POLICY requires worker_extension_cls='{extension}' so model workers apply the GC policy, but "
                + $"--worker-extension-cls is set to '{engine.WorkerExtensionClass}'. Remove it or unset DYN_FPM_GC_POLICY."
        );
        if (options.Get(VllmOptions.BenchmarkRandomizeKdaState))
        {
            Refuse(engine.WorkerClass != "auto", "Random KDA benchmarking requires the standard --worker-cls auto");
            Refuse(
                engine.LoadFormat == "gms" || Variable("DYN_GMS_USE_V1") == "true",
                "Random KDA benchmarking does not support the GMS worker"
            );
        }
    }
}
