using System.Text.RegularExpressions;

namespace Dynamo.Vllm.Worker.StartUp;

/// <summary>The exception that a process of the engine ended with, as it printed it: its front end, in this process, says no more than
/// that the root cause is above. Thread-safe, and never waits.</summary>
internal sealed partial class EngineErrors
{
    /// <summary>An exception that says of itself that another one is the reason.</summary>
    private const string Pointer = "root cause";

    private string? _first;

    /// <summary>The first one: those of the processes above come after it, and a cause is printed before what it caused.</summary>
    public string? First => Volatile.Read(ref _first);

    public void Take(string line)
    {
        if (_first is null && Read(line) is { } error)
        {
            Interlocked.CompareExchange(ref _first, error, null);
        }
    }

    /// <summary>It is no reason itself.</summary>
    public static bool IsPointer(string error) => error.Contains(Pointer, StringComparison.Ordinal);

    /// <summary>Null for other lines.</summary>
    public static string? Read(string line)
    {
        var match = LastOfTraceback().Match(line);
        return match.Success && !IsPointer(match.Value) ? match.Groups["error"].Value.TrimEnd() : null;
    }

    /// <summary>With the process's name, which vLLM puts before each line, and the head of a log line where it was logged.</summary>
    [GeneratedRegex(
        @"^\((?:EngineCore|Worker|VllmWorker)[^)]{0,64}\) (?:ERROR [^\]]{1,120}\] )?"
            + @"(?<error>(?:\w+\.)*[A-Z]\w*(?:Error|Exception|Exit): .+)$"
    )]
    private static partial Regex LastOfTraceback();
}
