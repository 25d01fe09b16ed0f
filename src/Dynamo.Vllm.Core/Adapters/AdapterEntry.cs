namespace Dynamo.Vllm.Core.Adapters;

/// <summary>What the table knows of a name: read and written under its lock only.</summary>
internal sealed class AdapterEntry(string name)
{
    public string Name { get; } = name;

    public LoadedAdapter? Loaded { get; set; }

    /// <summary>Grows with each load.</summary>
    public long Order { get; set; }

    /// <summary>A load is under way that will need a place.</summary>
    public bool IsReserved { get; set; }

    /// <summary>Requests that use it.</summary>
    public int Users { get; set; }

    /// <summary>Completes when the last of them has ended; null while nobody waits for it.</summary>
    public TaskCompletionSource? Idle { get; set; }

    /// <summary>Completes with the change that is under way; null if there is none.</summary>
    public TaskCompletionSource? Change { get; set; }

    public AdapterUse Use(AdapterTable table)
    {
        Users++;
        return new AdapterUse(table, this, Loaded!);
    }
}
