using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>The same words to our program and to the official one, where neither gets as far as the engine.</summary>
[Trait("Category", "Peers")]
public sealed class CommandLineTests : IClassFixture<OfficialCommandLine>
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(4);

    private readonly OfficialCommandLine _official;

    public CommandLineTests(OfficialCommandLine official) => _official = official;

    public static TheoryData<string[]> Refused => [.. OfficialCommandLine.Refused];

    [PeerTheory]
    [MemberData(nameof(Refused))]
    public async Task A_refusal_has_the_official_one_s_words(string[] words)
    {
        var official = _official.To(words);
        Assert.NotEqual(0, official.Code);
        using var store = new TemporaryFolder();
        await using var ours = Start(store, words);
        Assert.NotEqual(0, await ours.Process.ExitCodeAsync(Limit));
        var reason = official.Lines.Last(line => line.Contains("rror: ", StringComparison.Ordinal));
        reason = reason[(reason.LastIndexOf("rror: ", StringComparison.Ordinal) + "rror: ".Length)..].Trim();
        Assert.Contains(reason, ours.Process.Tail, StringComparison.Ordinal);
    }

    [PeerFact]
    public async Task Help_has_every_line_of_the_official_one()
    {
        var official = _official.To("--help");
        Assert.Equal(0, official.Code);
        using var store = new TemporaryFolder();
        await using var ours = Start(store, ["--help"]);
        Assert.Equal(0, await ours.Process.ExitCodeAsync(Limit));
        // Log lines carry a time; the texts do not. Ours has a group of its own at the end, and usage names the program.
        var known = ours.Process.Lines.Select(Sorted).ToHashSet();
        Assert.All(
            official
                .Lines.Select(Sorted)
                .Where(line => line.StartsWith("--", StringComparison.Ordinal) || line.Contains(",--", StringComparison.Ordinal)),
            line => Assert.Contains(line, known)
        );
    }

    private static WorkerProcess Start(TemporaryFolder store, string[] words) =>
        WorkerProcess.Start(
            store.Path,
            ["--python", Peers.Python, .. OfficialCommandLine.Arguments(words)],
            OfficialCommandLine.Variables(store.Path)
        );

    /// <summary>The names of parsers come in another order each time.</summary>
    private static string Sorted(string line) =>
        line.Contains('{', StringComparison.Ordinal)
            ? string.Join(',', line.Trim().Split('{', '}', ',').Order(StringComparer.Ordinal))
            : line.Trim();
}
