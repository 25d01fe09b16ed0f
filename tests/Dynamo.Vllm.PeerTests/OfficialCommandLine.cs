using System.Text.Json;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>What the official program says to command lines that do not get as far as an engine. One process imports
/// what takes it ten seconds, and forks for each of them.</summary>
public sealed class OfficialCommandLine : IAsyncLifetime
{
    private const string Script = """
        import json, os, runpy, sys, traceback
        import dynamo.vllm.main

        def says(words):
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                os.dup2(writing, 1)
                os.dup2(writing, 2)
                os.close(reading)
                sys.argv = ["dynamo.vllm", *words]
                code = 0
                try:
                    runpy.run_module("dynamo.vllm", run_name="__main__", alter_sys=True)
                except SystemExit as end:
                    code = end.code if isinstance(end.code, int) else int(end.code is not None)
                except BaseException:
                    traceback.print_exc()
                    code = 1
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
            os.close(writing)
            with os.fdopen(reading, errors="replace") as text:
                said = text.read()
            return {"code": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "lines": said.splitlines()}

        print(json.dumps([says(words) for words in json.loads(sys.argv[1])]))
        """;

    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(4);

    private readonly Dictionary<string, (int Code, string[] Lines)> _said = [];

    public static string[][] Refused { get; } =
    [
        ["--no-such-flag"],
        ["--disaggregation-mode", "sideways"],
        ["--connector", "nixl"],
        ["--endpoint", "only.two"],
        ["--benchmark-points-file", "points.json"],
    ];

    /// <summary>As wide as ours is asked for in the same test.</summary>
    public static Dictionary<string, string> Variables(string store) => new(Peers.Variables(store)) { ["COLUMNS"] = "120" };

    /// <param name="words">One of <see cref="Refused"/>, or <c>--help</c>.</param>
    public (int Code, string[] Lines) To(params string[] words) => _said[string.Join(' ', words)];

    /// <summary>The whole command line of either program.</summary>
    public static string[] Arguments(string[] words) => words is ["--help"] ? words : ["--model", Peers.TinyModel, .. words];

    public async Task InitializeAsync()
    {
        if (PeerFactAttribute.SkipReason is not null)
        {
            return; // every test of the class is skipped
        }

        using var store = new TemporaryFolder();
        string[][] all = [.. Refused, ["--help"]];
        await using var process = new ChildProcess(
            "official",
            Peers.Python,
            ["-c", Script, JsonSerializer.Serialize(all.Select(Arguments))],
            Variables(store.Path)
        );
        Assert.Equal(0, await process.ExitCodeAsync(Limit));
        using var answers = JsonDocument.Parse(process.Lines.Last(line => line.StartsWith('[')));
        foreach (var (words, answer) in all.Zip(answers.RootElement.EnumerateArray()))
        {
            _said[string.Join(' ', words)] = (
                answer.GetProperty("code").GetInt32(),
                [.. answer.GetProperty("lines").EnumerateArray().Select(line => line.GetString()!)]
            );
        }
    }

    public Task DisposeAsync() => Task.CompletedTask;
}
