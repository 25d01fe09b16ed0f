namespace Dynamo.Vllm.Worker.CommandLine;

/// <summary>The sampling limits of the self-benchmark and the old granularity options that map onto them.</summary>
internal static class BenchmarkSampling
{
    /// <summary>In the order in which the reference reports conflicts.</summary>
    public static IReadOnlyList<Limit> Limits { get; } =
    [
        new(
            "prefill_max_new_token_samples",
            64,
            options => options.PrefillMaxNewTokenSamples,
            "benchmark_prefill_granularity",
            options => options.BenchmarkPrefillGranularity,
            LeastSamples: 2
        ),
        new(
            "prefill_max_kv_read_token_samples",
            16,
            options => options.PrefillMaxKvReadTokenSamples,
            "benchmark_prefill_kv_read_granularity",
            options => options.BenchmarkPrefillKvReadGranularity,
            LeastSamples: 2
        ),
        new(
            "prefix_max_batch_size_samples",
            3,
            options => options.PrefixMaxBatchSizeSamples,
            "benchmark_prefill_batch_granularity",
            options => options.BenchmarkPrefillBatchGranularity,
            LeastSamples: 1
        ),
        new(
            "decode_max_kv_read_token_samples",
            128,
            options => options.DecodeMaxKvReadTokenSamples,
            "benchmark_decode_length_granularity",
            options => options.BenchmarkDecodeLengthGranularity,
            LeastSamples: 2
        ),
        new(
            "decode_max_batch_size_samples",
            128,
            options => options.DecodeMaxBatchSizeSamples,
            "benchmark_decode_batch_granularity",
            options => options.BenchmarkDecodeBatchGranularity,
            LeastSamples: 2
        ),
    ];

    /// <summary>One axis of the benchmark grid.</summary>
    /// <param name="LeastSamples">Two where both ends of the axis must be measured.</param>
    internal sealed record Limit(
        string Destination,
        long Default,
        Func<VllmWorkerOptions, long> Value,
        string LegacyDestination,
        Func<VllmWorkerOptions, long?> LegacyValue,
        long LeastSamples
    )
    {
        public string Flag => "--" + Destination.Replace('_', '-');

        public string LegacyFlag => "--" + LegacyDestination.Replace('_', '-');
    }
}
