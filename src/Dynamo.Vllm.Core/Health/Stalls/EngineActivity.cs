namespace Dynamo.Vllm.Core.Health.Stalls;

/// <summary>What the kernel says of the engine's processes, all of them together, at one moment.</summary>
/// <param name="IsStopped">One of them is stopped by a signal or a debugger, or frozen with its cgroup.</param>
/// <param name="IsRunnable">A thread of one of them runs, waits for a core or for a disk.</param>
/// <param name="EngineCpu">CPU time of vLLM's own processes since their start.</param>
/// <param name="HelperCpu">CPU time of what those started: compilers, and the pools that call them.</param>
/// <param name="IsGpuBusy">A GPU of theirs computes; null where that cannot be read.</param>
public readonly record struct EngineActivity(bool IsStopped, bool IsRunnable, TimeSpan EngineCpu, TimeSpan HelperCpu, bool? IsGpuBusy);
