using System.Diagnostics;
using Dynamo.Vllm.Worker.Logging;
using Prometheus;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>This process: what it uses, the .NET half of its memory (what Python holds is
/// the rest of the resident set; the engine's processes have their own), and its output.</summary>
/// <remarks>Names that begin with <c>process_</c> are those of every Prometheus client.</remarks>
internal static class HostMetrics
{
    public static void AddTo(CollectorRegistry registry, StandardOutputs outputs, ConnectionCaps connections)
    {
        var metrics = Metrics.WithCustomRegistry(registry);
        // Read once: the clock may be set later, and a start that moves would be counted as a restart.
        using var process = Process.GetCurrentProcess();
        metrics
            .CreateGauge("process_start_time_seconds", "Start of this process, in seconds since 1970")
            .Set(new DateTimeOffset(process.StartTime).ToUnixTimeMilliseconds() / 1000.0);
        var cpu = metrics.CreateCounter("process_cpu_seconds_total", "CPU time of this process, in user and kernel mode");
        var resident = metrics.CreateGauge("process_resident_memory_bytes", "Resident set of this process");
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
            cpu.IncTo(Environment.CpuUsage.TotalTime.TotalSeconds);
            resident.Set(Environment.WorkingSet);
            closed.WithLabels("requests").IncTo(connections.Requests.Closed);
            closed.WithLabels("status").IncTo(connections.Status.Closed);
            closed.WithLabels("events").IncTo(connections.Events.Closed);
            dropped.IncTo(outputs.DroppedLines);
            heap.Set(memory.HeapSizeBytes);
            committed.Set(memory.TotalCommittedBytes);
        });
    }
}
