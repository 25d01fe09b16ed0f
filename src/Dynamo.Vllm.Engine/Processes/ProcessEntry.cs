namespace Dynamo.Vllm.Engine.Processes;

/// <summary>One process.</summary>
/// <param name="Id">Process id.</param>
/// <param name="Name">At most 15 characters, as the kernel keeps it.</param>
/// <param name="Parent">Process id of the parent; 1 after init has adopted it.</param>
/// <param name="State">The kernel's letter.</param>
/// <param name="Cpu">User and system time of all its threads, in ticks of 10 ms.</param>
internal readonly record struct ProcessEntry(int Id, string Name, int Parent, char State, TimeSpan Cpu)
{
    /// <summary>It has ended and waits for its parent to notice.</summary>
    public bool HasEnded => State is 'Z' or 'X';

    /// <summary>Stopped by a signal or by a debugger.</summary>
    public bool IsStopped => State is 'T' or 't';
}
