namespace Dynamo.Vllm.Testing;

/// <summary>A page under docs/ whose end says what the code says:
/// compared by a test, and written by it where an author asks for that.</summary>
public sealed class WrittenPage
{
    /// <summary>Set, the page is written instead of compared.</summary>
    private const string WriteVariable = "WRITE_DOCS";

    private readonly string _path;
    private readonly string _kept;

    /// <param name="name">File below docs/.</param>
    /// <param name="marker">The line, with its line feed, after which the code has the word.</param>
    /// <exception cref="InvalidOperationException">The page has no such line.</exception>
    public WrittenPage(string name, string marker)
    {
        _path = Path.Combine(SimulatedPaths.Root, "docs", name);
        Text = File.ReadAllText(_path);
        var start = Text.IndexOf(marker, StringComparison.Ordinal);
        _kept = start >= 0 ? Text[..(start + marker.Length)] : throw new InvalidOperationException($"{name} has no line '{marker.Trim()}'");
    }

    public string Text { get; }

    /// <summary>What follows the marker.</summary>
    public string Written => Text[_kept.Length..];

    /// <summary>Writes the text behind the marker if that was asked for.</summary>
    /// <returns>What is to stand there now: the text itself, or what the page says.</returns>
    public string Update(string text)
    {
        if (Environment.GetEnvironmentVariable(WriteVariable) is not { Length: > 0 })
        {
            return Written;
        }

        File.WriteAllText(_path, _kept + text);
        return text;
    }
}
