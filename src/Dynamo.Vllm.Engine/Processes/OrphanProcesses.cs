namespace Dynamo.Vllm.Engine.Processes;

/// <summary>Engine processes whose worker is gone: they keep GPU memory, and the next worker wonders why there is none.</summary>
public static class OrphanProcesses
{
    /// <summary>Processes named like vLLM's that were adopted by init.</summary>
    public static IReadOnlyList<(string Name, int Id)> Find() =>
        [
            .. ProcessTable
                .Read()
                .Where(entry => entry.Parent == 1 && !entry.HasEnded && entry.Name.StartsWith("VLLM::", StringComparison.Ordinal))
                .Select(entry => (entry.Name, entry.Id)),
        ];
}
