using System.Globalization;
using Prometheus;

namespace Dynamo.Vllm.Core.Metrics;

/// <summary>The worker's own gauges, under the reference's names (behaviour.md, 6).</summary>
public sealed class WorkerMetrics
{
    private readonly Gauge _totalBlocks;
    private readonly Gauge _cacheUsage;
    private readonly Gauge _loadTime;
    private readonly string _model;
    private readonly string _component;

    public WorkerMetrics(CollectorRegistry registry, string model, string component)
    {
        _model = model;
        _component = component;
        var factory = Prometheus.Metrics.WithCustomRegistry(registry);
        string[] perRank = ["dp_rank", "dynamo_component", "model"];
        _totalBlocks = factory.CreateGauge(
            "dynamo_component_total_blocks",
            "Total number of KV cache blocks available on the worker.",
            perRank
        );
        _cacheUsage = factory.CreateGauge(
            "dynamo_component_gpu_cache_usage_percent",
            "GPU cache usage as a percentage (0.0-1.0).",
            perRank
        );
        factory.CreateGauge("dynamo_component_kv_cache_hit_rate", "Prefix cache hit rate (0.0-1.0). Portable across engines.", perRank);
        _loadTime = factory.CreateGauge(
            "dynamo_component_model_load_time_seconds",
            "Model load time in seconds.",
            ["dynamo_component", "model"]
        );
    }

    public void SetLoadTime(TimeSpan time) => _loadTime.WithLabels(_component, _model).Set(time.TotalSeconds);

    public void SetBlocks(int rank, long blocks)
    {
        var label = rank.ToString(CultureInfo.InvariantCulture);
        _totalBlocks.WithLabels(label, _component, _model).Set(blocks);
        _cacheUsage.WithLabels(label, _component, _model).Set(0);
    }

    public void SetUsage(int rank, double usage) =>
        _cacheUsage.WithLabels(rank.ToString(CultureInfo.InvariantCulture), _component, _model).Set(usage);
}
