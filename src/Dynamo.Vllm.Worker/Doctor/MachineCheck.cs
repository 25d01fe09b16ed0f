using System.Globalization;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Python.Platform;
using Dynamo.Vllm.Worker.Hosting;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.Worker.Doctor;

/// <summary>What the machine, or the container, grants to a process.</summary>
internal static class MachineCheck
{
    /// <summary>vLLM's processes hand tensors of requests over there; containers get 64 MiB unless they ask for more.</summary>
    private const long SharedMemoryMin = 1L << 30;

    private const long SharedMemoryFreeMin = 256L << 20;

    /// <summary>Less than that many callers at once is less than a frontend may send.</summary>
    private const int CallersMin = 1000;

    public static Task LookAtMemoryAsync(Findings findings, CancellationToken cancellationToken)
    {
        var available = ProcFiles
            .Read("/proc/meminfo")
            .Split('\n')
            .FirstOrDefault(line => line.StartsWith("MemAvailable:", StringComparison.Ordinal));
        if (
            available is not null
            && long.TryParse(available.AsSpan(13).Trim().TrimEnd(" kB"), CultureInfo.InvariantCulture, out var kibibytes)
        )
        {
            findings.Ok($"{Sizes.Text(kibibytes << 10)} of memory available on this machine");
        }

        if (MemoryGroup.OfThisProcess() is not { } group)
        {
            findings.Ok("no memory control group");
            return Task.CompletedTask;
        }

        findings.Ok(group.LimitBytes is { } limit ? $"the control group's limit is {Sizes.Text(limit)}" : "the control group has no limit");
        if (group.Kills > 0)
        {
            findings.Warning(
                $"the kernel has killed {group.Kills} processes of this control group for want of memory ({group.CountFile})",
                "give the container, pod or unit more memory than the model and its cache need, or look for what leaks"
            );
        }

        return Task.CompletedTask;
    }

    public static Task LookAtSharedMemoryAsync(Findings findings, CancellationToken cancellationToken)
    {
        var drive = new DriveInfo("/dev/shm");
        var seen = $"/dev/shm has {Sizes.Text(drive.TotalSize)}, {Sizes.Text(drive.AvailableFreeSpace)} free";
        if (drive.TotalSize < SharedMemoryMin || drive.AvailableFreeSpace < SharedMemoryFreeMin)
        {
            findings.Warning(
                seen,
                "engines on several GPUs and requests with media need more: --shm-size of the container, an emptyDir with medium Memory "
                    + "in a pod; or remove what is left over in it"
            );
        }
        else
        {
            findings.Ok(seen);
        }

        return Task.CompletedTask;
    }

    public static Task LookAtLimitsAsync(Findings findings, CancellationToken cancellationToken)
    {
        const string advice = "raise the hard limit: ulimit -n, LimitNOFILE= of systemd, ulimits of the container";
        var descriptors = DescriptorLimit.Raise();
        if (descriptors < DescriptorLimit.Min)
        {
            findings.Problem($"{descriptors} open files are allowed, and at least {DescriptorLimit.Min} are needed", advice);
            return Task.CompletedTask;
        }

        var caps = ConnectionCaps.For(descriptors, TimeProvider.System, NullLogger.Instance);
        var seen =
            $"{descriptors} open files are allowed: {caps.Requests.Max} callers, {caps.Status.Max} probes and "
            + $"{caps.Events.Max} routers at once";
        if (caps.Requests.Max < CallersMin)
        {
            findings.Warning(seen, advice);
        }
        else
        {
            findings.Ok(seen);
        }

        return Task.CompletedTask;
    }
}
