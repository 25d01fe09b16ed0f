using System.Text.RegularExpressions;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.UnitTests;

public sealed partial class SourceFileTests
{
    private const int ColumnsMax = 140;

    /// <summary>The formatter wraps code; it leaves comments and literals as they are, and these are held here.</summary>
    [Fact]
    public void Lines_fit_140_columns_except_data_in_raw_literals()
    {
        var files = Sources("src", "tests", "bench");
        Assert.True(files.Count > 500, $"{files.Count} files");
        Assert.Empty(files.SelectMany(LongLines));
    }

    [Fact]
    public void An_event_of_the_log_has_a_number_of_its_own()
    {
        var numbers = Sources("src").SelectMany(path => EventId().Matches(File.ReadAllText(path))).Select(match => match.Groups[1].Value);
        var uses = numbers.CountBy(number => number).ToList();

        Assert.True(uses.Count > 100, $"{uses.Count} events");
        Assert.Empty(uses.Where(use => use.Value > 1).Select(use => use.Key));
    }

    private static List<string> Sources(params string[] folders) =>
        [
            .. folders
                .SelectMany(folder =>
                    Directory.EnumerateFiles(Path.Combine(SimulatedPaths.Root, folder), "*.cs", SearchOption.AllDirectories)
                )
                .Where(path => !path.Split(Path.DirectorySeparatorChar).Any(part => part is "obj" or "bin")),
        ];

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

    [GeneratedRegex(@"EventId = (\d+)")]
    private static partial Regex EventId();
}
