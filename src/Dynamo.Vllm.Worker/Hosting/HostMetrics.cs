using Dynamo.Vllm.Worker.Logging;
using Prometheus;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>The .NET half of the process: its memory (what the engine and
/// Python hold is the rest of the resident set), and its output.</summary>
internal static class HostMetrics
{
    public static void AddTo(CollectorRegistry registry, StandardOutputs outputs, ConnectionCaps connections)
    {
        var metrics = Metrics.WithCustomRegistry(registry);
        var heap = metrics.CreateGauge("dynamo_vllm_managed_heap_bytes", "Managed heap after the last garbage collection");
        var committed = metrics.CreateGauge(
            "dynamo_vllm_managed_committed_bytes",
            "Memory that the managed heap has taken from the system"
        );
        var dropped = metrics.CreateCounter(
            "dynamo_vllm_log_lines_dropped_total",
            "Lines of this worker and its engine processes that nobody read from stderr or stdout in time"
        );
        var closed = metrics.CreateCounter(
            "dynamo_vllm_connections_closed_total",
            "Accepted connections that were closed because there were too many, the longest silent first",
            "listener"
        );
        registry.AddBeforeCollectCallback(() =>
        {
            var memory = GC.GetGCMemoryInfo(GCKind.Any);
            closed.WithLabels("requests").IncTo(connections.Requests.Closed);
            closed.WithLabels("status").IncTo(connections.Status.Closed);
            dropped.IncTo(outputs.DroppedLines);
            heap.Set(memory.HeapSizeBytes);
            committed.Set(memory.TotalCommittedBytes);
        });
    }
}
