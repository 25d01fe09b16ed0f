using Prometheus;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>Memory of the .NET half of the process: what the engine and Python hold is the rest of the resident set.</summary>
internal static class HostMetrics
{
    public static void AddTo(CollectorRegistry registry)
    {
        var metrics = Metrics.WithCustomRegistry(registry);
        var heap = metrics.CreateGauge("dynamo_vllm_managed_heap_bytes", "Managed heap after the last garbage collection");
        var committed = metrics.CreateGauge(
            "dynamo_vllm_managed_committed_bytes", "Memory that the managed heap has taken from the system");
        registry.AddBeforeCollectCallback(() =>
        {
            var memory = GC.GetGCMemoryInfo(GCKind.Any);
            heap.Set(memory.HeapSizeBytes);
            committed.Set(memory.TotalCommittedBytes);
        });
    }
}
