using System.Text.RegularExpressions;
using Xunit.Abstractions;

namespace Dynamo.Vllm.UnitTests.Worker.Configuration;

/// <summary>One of the 88 captured command lines: what was given, and what the reference made of it.</summary>
public sealed partial class FlagCase : IXunitSerializable
{
    public string Input { get; private set; } = string.Empty;

    public string Outcome { get; private set; } = string.Empty;

    public Dictionary<string, string> Environment { get; } = [];

    public List<string> Arguments { get; } = [];

    /// <summary>The reference's own last word came from vLLM's parser.</summary>
    public bool EndsInVllm =>
        Outcome.StartsWith("EXIT 2: (usage)", StringComparison.Ordinal) || Outcome.StartsWith("EXIT 2 [", StringComparison.Ordinal);

    public static IEnumerable<FlagCase> ReadAll(string text)
    {
        var lines = text.Split('\n');
        for (var i = 0; i < lines.Length - 1; i++)
        {
            if (lines[i].StartsWith("$ ", StringComparison.Ordinal))
            {
                yield return Create(lines[i][2..], lines[i + 1].Trim());
            }
        }
    }

    public void Deserialize(IXunitSerializationInfo info) =>
        Fill(info.GetValue<string>(nameof(Input)), info.GetValue<string>(nameof(Outcome)));

    public void Serialize(IXunitSerializationInfo info)
    {
        info.AddValue(nameof(Input), Input);
        info.AddValue(nameof(Outcome), Outcome);
    }

    /// <summary>The value of <c>name=...</c> in the outcome line; null if the case does not show it.</summary>
    public string? Shown(string name)
    {
        var match = Regex.Match(Outcome, $@" {Regex.Escape(name)}[= ](.*?)(?= \w+\+?[= ](?=\S)|$)");
        return match.Success ? match.Groups[1].Value : null;
    }

    /// <summary>The message of the exception or of the usage error, unquoted.</summary>
    public string Message()
    {
        if (Outcome.StartsWith("EXIT 2: __main__.py: error: ", StringComparison.Ordinal))
        {
            return Outcome["EXIT 2: __main__.py: error: ".Length..];
        }

        var match = ExceptionLine().Match(Outcome);
        var text = match.Groups[1].Value;
        return text is ['\'' or '"', .., '\'' or '"']
            ? text[1..^1].Replace("\\n", "\n", StringComparison.Ordinal).Replace("\\'", "'", StringComparison.Ordinal)
            : text;
    }

    public override string ToString() => Input;

    private static FlagCase Create(string input, string outcome)
    {
        var result = new FlagCase();
        result.Fill(input, outcome);
        return result;
    }

    private void Fill(string input, string outcome)
    {
        (Input, Outcome) = (input, outcome);
        foreach (var word in input.Split(' '))
        {
            if (Assignment().Match(word) is { Success: true } assignment)
            {
                Environment[assignment.Groups[1].Value] = assignment.Groups[2].Value;
            }
            else if (word.Length > 0 || input == "--namespace ")
            {
                // Only this case has an empty word; elsewhere a blank at the end is an artefact of the capture.
                Arguments.Add(word);
            }
        }
    }

    [GeneratedRegex(@"^([A-Z_]+)='(.*)'$")]
    private static partial Regex Assignment();

    [GeneratedRegex(@"^\w+:? (.*)$")]
    private static partial Regex ExceptionLine();
}
