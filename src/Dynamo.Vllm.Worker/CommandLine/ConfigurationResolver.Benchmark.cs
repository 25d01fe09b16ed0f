namespace Dynamo.Vllm.Worker.CommandLine;

/// <remarks>Step 2, last part. The benchmark is not supported yet, but a wrong request for it must still be refused as such.</remarks>
public sealed partial class ConfigurationResolver
{
    private static void CheckBenchmark(Draft draft)
    {
        var vllm = draft.Vllm;
        Refuse(vllm.BenchmarkPointsFile is not null && vllm.BenchmarkMode is null, "--benchmark-points-file requires --benchmark-mode");

        // Explicit points replace the generated grid, and with it everything that samples the grid.
        var samplesGrid = vllm.BenchmarkMode is not null && vllm.BenchmarkPointsFile is null;
        var samples = BenchmarkSampling.Limits.ToDictionary(limit => limit, limit => limit.Value(vllm));
        if (samplesGrid)
        {
            foreach (var limit in BenchmarkSampling.Limits)
            {
                samples[limit] = ResolveLegacySampling(draft, limit);
            }
        }

        CheckBenchmarkState(vllm);
        if (vllm.BenchmarkMode is null)
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

        Refuse(vllm.BenchmarkWarmupIterations < 0, "--benchmark-warmup-iterations must be non-negative");
        Refuse(vllm.BenchmarkTimeoutSeconds <= 0, "--benchmark-timeout must be positive");
    }

    private static long ResolveLegacySampling(Draft draft, BenchmarkSampling.Limit limit)
    {
        var value = limit.Value(draft.Vllm);
        if (limit.LegacyValue(draft.Vllm) is not { } legacy)
        {
            return value;
        }

        Refuse(legacy is < 1 or > 1024, $"{limit.LegacyFlag} must be between 1 and 1024");
        Refuse(
            draft.Vllm.ExplicitSamplingLimits.Contains(limit.Destination) || value != limit.Default,
            $"cannot combine {limit.LegacyFlag} with {limit.Flag}"
        );
        var detail = legacy < limit.LeastSamples ? " Legacy value 1 maps to 2 so both axis endpoints are retained." : string.Empty;
        draft.Warnings.Add($"{limit.LegacyFlag} is deprecated; use {limit.Flag} instead.{detail}");
        return Math.Max(limit.LeastSamples, legacy);
    }

    private static void CheckBenchmarkState(VllmWorkerOptions vllm)
    {
        Refuse(
            vllm.BenchmarkHybridLiveState && vllm.BenchmarkRandomizeKdaState,
            "--benchmark-hybrid-live-state and --benchmark-randomize-kda-state are mutually exclusive"
        );
        var decodes = vllm.BenchmarkMode is "decode" or "agg";
        Refuse(vllm.BenchmarkHybridLiveState && !decodes, "--benchmark-hybrid-live-state requires --benchmark-mode decode or agg");
        Refuse(vllm.BenchmarkRandomizeKdaState && !decodes, "--benchmark-randomize-kda-state requires --benchmark-mode decode or agg");
    }

    private void CheckBenchmarkEngine(Draft draft)
    {
        var (vllm, engine) = (draft.Vllm, draft.Engine);
        if (vllm.BenchmarkMode is null)
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
        if (vllm.BenchmarkRandomizeKdaState)
        {
            Refuse(engine.WorkerClass != "auto", "Random KDA benchmarking requires the standard --worker-cls auto");
            Refuse(
                engine.LoadFormat == "gms" || Variable("DYN_GMS_USE_V1") == "true",
                "Random KDA benchmarking does not support the GMS worker"
            );
        }
    }
}
