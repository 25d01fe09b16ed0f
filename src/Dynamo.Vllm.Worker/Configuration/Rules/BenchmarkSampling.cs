using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.Worker.Configuration.Rules;

/// <summary>The sampling limits of the self-benchmark and the old granularity options that map onto them.</summary>
internal static class BenchmarkSampling
{
    /// <summary>In the order in which the reference reports conflicts.</summary>
    public static IReadOnlyList<Limit> Limits { get; } =
    [
        new(VllmOptions.PrefillMaxNewTokenSamples, VllmOptions.BenchmarkPrefillGranularity, LeastSamples: 2),
        new(VllmOptions.PrefillMaxKvReadTokenSamples, VllmOptions.BenchmarkPrefillKvReadGranularity, LeastSamples: 2),
        new(VllmOptions.PrefixMaxBatchSizeSamples, VllmOptions.BenchmarkPrefillBatchGranularity, LeastSamples: 1),
        new(VllmOptions.DecodeMaxKvReadTokenSamples, VllmOptions.BenchmarkDecodeLengthGranularity, LeastSamples: 2),
        new(VllmOptions.DecodeMaxBatchSizeSamples, VllmOptions.BenchmarkDecodeBatchGranularity, LeastSamples: 2),
    ];

    /// <summary>One axis of the benchmark grid.</summary>
    /// <param name="Legacy">The older option for the same axis.</param>
    /// <param name="LeastSamples">Two where both ends of the axis must be measured.</param>
    internal sealed record Limit(Option<long> Option, Option<long?> Legacy, long LeastSamples)
    {
        public string Flag => Option.Flags[0];

        public string LegacyFlag => Legacy.Flags[0];
    }
}
