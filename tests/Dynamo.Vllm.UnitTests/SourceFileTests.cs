using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.UnitTests;

public sealed class SourceFileTests
{
    private const int ColumnsMax = 140;

    /// <summary>The formatter wraps code; it leaves comments and literals as they are, and these are held here.</summary>
    [Fact]
    public void Lines_fit_140_columns_except_data_in_raw_literals()
    {
        var files = new[] { "src", "tests", "bench" }
            .SelectMany(folder => Directory.EnumerateFiles(Path.Combine(SimulatedPaths.Root, folder), "*.cs", SearchOption.AllDirectories))
            .Where(path => !path.Split(Path.DirectorySeparatorChar).Any(part => part is "obj" or "bin"))
            .ToList();

        Assert.True(files.Count > 500, $"{files.Count} files");
        Assert.Empty(files.SelectMany(LongLines));
    }

    private static IEnumerable<string> LongLines(string path)
    {
        var inside = false;
        foreach (var (index, line) in File.ReadLines(path).Index())
        {
            var quotes = line.Split("\"\"\"").Length - 1;
            if (line.Length > ColumnsMax && !inside && quotes == 0)
            {
                yield return $"{Path.GetRelativePath(SimulatedPaths.Root, path)}:{index + 1}: {line.Length} columns";
            }

            inside ^= quotes % 2 == 1;
        }
    }
}
