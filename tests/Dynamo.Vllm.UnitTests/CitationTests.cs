using System.Text.RegularExpressions;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.UnitTests;

/// <summary>What a comment or a page cites is in the repository: pages with their sections, rules of style, files.</summary>
/// <remarks>
/// A page is looked for in <c>docs</c>, <c>docs/protocol</c> and <c>docs/decisions</c>; its section 3.2 is a heading that begins with it.
/// </remarks>
public sealed partial class CitationTests
{
    private static readonly string[] Folders = ["src", "tests", "bench", "python", "build", "docs", "deploy", "docker", "systemd"];

    private static readonly string[] Endings = [".cs", ".py", ".md", ".props", ".globalconfig", ".txt", ".yaml", ".service"];

    private readonly List<(string Place, string Line)> _lines =
    [
        .. Folders.SelectMany(Files).SelectMany(path => File.ReadLines(path).Select((line, index) => (Place(path, index), line))),
    ];

    [Fact]
    public void Every_page_that_is_cited_is_there_with_the_section()
    {
        var citations = _lines
            .SelectMany(line =>
                Page().Matches(line.Line).Select(match => (line.Place, Page: match.Groups[1].Value, Sections: match.Groups[2].Value))
            )
            .ToList();

        Assert.True(citations.Count > 150, $"{citations.Count} citations");
        Assert.Empty(
            citations
                .Where(citation =>
                    !citation
                        .Sections.Split('-', StringSplitOptions.RemoveEmptyEntries)
                        .DefaultIfEmpty("")
                        .All(section => Has(citation.Page, section))
                )
                .Select(citation => $"{citation.Place}: {citation.Page}.md, {citation.Sections}")
        );
    }

    [Fact]
    public void Every_rule_of_style_that_is_cited_is_there()
    {
        var rules = _lines
            .SelectMany(line => Rule().Matches(line.Line).Select(match => (line.Place, Rule: match.Groups[1].Value)))
            .ToList();

        Assert.True(rules.Count > 30, $"{rules.Count} citations");
        Assert.Empty(rules.Where(rule => !Has("style", rule.Rule)).Select(rule => $"{rule.Place}: {rule.Rule}"));
    }

    [Fact]
    public void Every_golden_file_that_a_comment_names_is_there()
    {
        var names = _lines
            .SelectMany(line => Golden().Matches(line.Line).Select(match => (line.Place, Path: match.Groups[1].Value.TrimEnd('.'))))
            .ToList();

        Assert.True(names.Count > 10, $"{names.Count} names");
        Assert.Empty(
            names
                .Where(name => !Path.Exists(Path.Combine(SimulatedPaths.Root, "tests", name.Path)))
                .Select(name => $"{name.Place}: {name.Path}")
        );
    }

    private static bool Has(string page, string section)
    {
        var path = new[] { "docs", "docs/protocol", "docs/decisions" }
            .Select(folder => Path.Combine(SimulatedPaths.Root, folder, page + ".md"))
            .FirstOrDefault(File.Exists);
        return path is not null
            && (
                section.Length == 0 || File.ReadLines(path).Any(line => Regex.IsMatch(line, $@"^#+ {Regex.Escape(section)}(?![\d.]*\d)\b"))
            );
    }

    private static IEnumerable<string> Files(string folder) =>
        Directory
            .EnumerateFiles(Path.Combine(SimulatedPaths.Root, folder), "*", SearchOption.AllDirectories)
            .Where(path => Endings.Contains(Path.GetExtension(path)) && !path.EndsWith("CitationTests.cs", StringComparison.Ordinal))
            .Where(path => !path.Split(Path.DirectorySeparatorChar).Any(part => part is "obj" or "bin" or ".mypy_cache"));

    private static string Place(string path, int index) => $"{Path.GetRelativePath(SimulatedPaths.Root, path)}:{index + 1}";

    // "request-plane.md, 1.4", "(behaviour.md, 15)", "llm-errors.md, 1-2"; a link's target has no section.
    [GeneratedRegex(@"(?<![\w/.-])(?:docs/|docs/protocol/)?([a-z][a-z0-9-]+)\.md(?:, (\d+(?:\.\d+)?(?:-\d+(?:\.\d+)?)?))?")]
    private static partial Regex Page();

    [GeneratedRegex(@"\bstyle ([A-Z]\d+)\b")]
    private static partial Regex Rule();

    [GeneratedRegex(@"\btests/(golden/[\w./-]+)")]
    private static partial Regex Golden();
}
