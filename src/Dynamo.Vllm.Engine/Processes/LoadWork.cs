namespace Dynamo.Vllm.Engine.Processes;

/// <summary>What the processes that load a model have done since they began, all of them together.</summary>
/// <param name="Cpu">User and system time, in ticks of 10 ms.</param>
/// <param name="BytesRead">From disks and network file systems.</param>
/// <param name="BytesFetched">Of the model, from its hub.</param>
public readonly record struct LoadWork(TimeSpan Cpu, long BytesRead, long BytesFetched = 0)
{
    /// <summary>Name of the interpreter's thread (<c>PythonHost</c>), which those that Python starts inherit.</summary>
    private const string PythonThreads = "python";

    /// <summary>Of Python's threads in this process and of everything that it started. What ended has taken its share with it.</summary>
    /// <param name="fetched">What the fetch of the model has brought.</param>
    public static LoadWork Read(long fetched = 0)
    {
        var cpu = TimeSpan.Zero;
        var bytes = ProcessTable.BytesRead(Environment.ProcessId);
        foreach (var thread in ProcessTable.ThreadsNamed(Environment.ProcessId, PythonThreads))
        {
            cpu += thread.Cpu;
        }

        foreach (var entry in ProcessTable.Below(Environment.ProcessId))
        {
            cpu += entry.Cpu;
            bytes += ProcessTable.BytesRead(entry.Id);
        }

        return new LoadWork(cpu, bytes, fetched);
    }
}
