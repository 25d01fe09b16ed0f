namespace Dynamo.Vllm.Testing;

/// <summary>Places in the source tree that tests need.</summary>
public static class SimulatedPaths
{
    /// <summary>The folder that holds the solution.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>The folder of the simulated <c>vllm</c> package.</summary>
    public static string SimulatedEngine => Path.Combine(Root, "python", "simulated");

    private static string FindRoot()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Dynamo.Vllm.sln")))
        {
            folder = folder.Parent;
        }

        return folder?.FullName ?? throw new InvalidOperationException("the tests run outside the source tree");
    }
}
