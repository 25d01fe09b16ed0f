namespace Dynamo.Vllm.Worker.Benchmark;

/// <summary>Where the engine's ranks leave what they measured, and where it is put together. Names are the reference's.</summary>
internal sealed class BenchmarkFiles
{
    private readonly int _firstRank;

    /// <param name="path">Of rank 0.</param>
    /// <param name="firstRank">Of this worker, of all data-parallel ranks.</param>
    /// <param name="ranks">How many this worker has.</param>
    public BenchmarkFiles(string path, int firstRank, int ranks)
    {
        _firstRank = firstRank;
        Ranks = [.. Enumerable.Range(firstRank, ranks).Select(rank => (rank, With(path, rank == 0 ? "" : $"_dp{rank}")))];
        Merged = With(path, firstRank == 0 ? "_merged" : $"_dp{_firstRank}_merged");
    }

    public IReadOnlyList<(int Rank, string Path)> Ranks { get; }

    public string Merged { get; }

    private static string With(string path, string suffix)
    {
        var extension = Path.GetExtension(path);
        return $"{path[..^extension.Length]}{suffix}{extension}";
    }
}
