using System.Text.RegularExpressions;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.UnitTests;

/// <summary>docs/compatibility.md claims nothing that no test or program shows.</summary>
public sealed partial class CompatibilityTests
{
    private static readonly string[] States =
    [
        "done",
        "different",
        "done, seen on a GPU",
        "done, not shown",
        "different, not shown",
        "partly",
        "not yet",
        "not run",
        "out of scope",
    ];

    private static readonly string[] Pages = File.ReadAllLines(Path.Combine(SimulatedPaths.Root, "docs", "compatibility.md"));

    /// <summary>Class and method of every test that runs only where the real peers are.</summary>
    private static readonly HashSet<string> PeerTests =
    [
        .. Directory
            .GetFiles(Path.Combine(SimulatedPaths.Root, "tests"), "*Tests*.cs", SearchOption.AllDirectories)
            .SelectMany(file =>
                PeerTest()
                    .Matches(File.ReadAllText(file))
                    .Select(match => $"{Path.GetFileName(file).Split('.')[0]}.{match.Groups[1].Value}")
            ),
    ];

    [Fact]
    public void Every_feature_that_is_called_done_or_different_names_what_shows_it()
    {
        var rows = Rows("Feature").Select(cells => (Id: cells[0], State: cells[2], ShownBy: cells[4])).ToList();
        Assert.True(rows.Count > 90, $"{rows.Count} rows");
        Assert.All(rows, row => Assert.Contains(row.State, States));
        Assert.DoesNotContain(rows, row => row.State is "done" or "done, seen on a GPU" or "different" && row.ShownBy.Length == 0);
        Assert.DoesNotContain(
            rows,
            row => row.State is not ("done" or "done, seen on a GPU" or "different" or "partly") && row.ShownBy.Length > 0
        );
        Assert.DoesNotContain(Rows("Plane"), cells => cells[1].StartsWith("done", StringComparison.Ordinal) && cells[2].Length == 0);
    }

    [Fact]
    public void What_is_named_is_there_and_needs_the_real_peers()
    {
        var named = Rows("Feature")
            .Select(cells => cells[4])
            .Concat(Rows("Plane").Select(cells => cells[2]))
            .SelectMany(cell => Name().Matches(cell).Select(match => match.Groups[1].Value))
            .ToList();
        Assert.NotEmpty(named);
        Assert.All(named, name => Assert.True(PeerTests.Contains(name) || IsProgram(name), name));
    }

    private static bool IsProgram(string name) =>
        (name.StartsWith("bench/", StringComparison.Ordinal) && File.Exists(Path.Combine(SimulatedPaths.Root, name, "Program.cs")))
        || (
            (
                name.StartsWith("tests/operations/", StringComparison.Ordinal)
                || name.StartsWith("python/tests/guest/", StringComparison.Ordinal)
            ) && File.Exists(Path.Combine(SimulatedPaths.Root, name))
        );

    /// <summary>Cells of the table whose heading has this word.</summary>
    private static IEnumerable<string[]> Rows(string heading) =>
        Pages
            .SkipWhile(line => !(line.StartsWith('|') && line.Contains($"| {heading} |", StringComparison.Ordinal)))
            .Skip(2)
            .TakeWhile(line => line.StartsWith('|'))
            .Select(line => line.Split('|')[1..^1].Select(cell => cell.Trim()).ToArray());

    [GeneratedRegex(
        @"\[Peer(?:Fact|Theory)[^\]]*\](?:\s*\[(?:Inline|Member)Data\([^\n]*\)\])*"
            + @"\s*public (?:static )?(?:async )?(?:Task|void) (\w+)\("
    )]
    private static partial Regex PeerTest();

    [GeneratedRegex("`([^`]+)`")]
    private static partial Regex Name();
}
