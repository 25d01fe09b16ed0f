using System.Text.RegularExpressions;
using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.Worker.Configuration.Parsing;

/// <remarks>Step 1: which words are options, and which known option each of them names.</remarks>
internal sealed partial class ArgumentParser
{
    private static readonly Match Value = new(null, string.Empty, null, IsValue: true);
    private static readonly Match NotOurs = new(null, string.Empty, null, IsValue: false);

    private List<Match> Classify(IReadOnlyList<string> arguments)
    {
        var matches = new List<Match>(arguments.Count);
        var onlyValues = false;
        foreach (var argument in arguments)
        {
            if (onlyValues)
            {
                matches.Add(Value);
            }
            else if (argument == "--")
            {
                // The marker is neither an option nor a value: no option can swallow it, and the next parser sees it again.
                onlyValues = true;
                matches.Add(NotOurs);
            }
            else
            {
                matches.Add(ClassifyWord(argument));
            }
        }

        return matches;
    }

    private Match ClassifyWord(string word)
    {
        if (word.Length == 0 || word[0] != '-')
        {
            return Value;
        }

        if (_byFlag.TryGetValue(word, out var exact))
        {
            return new Match(exact, word, null, IsValue: false);
        }

        if (word.Length == 1)
        {
            return Value;
        }

        var equals = word.IndexOf('=', StringComparison.Ordinal);
        if (equals >= 0 && _byFlag.TryGetValue(word[..equals], out var assigned))
        {
            return new Match(assigned, word[..equals], word[(equals + 1)..], IsValue: false);
        }

        var candidates = FindByPrefix(word, equals);
        if (candidates.Count > 1)
        {
            var names = string.Join(", ", candidates.Select(candidate => candidate.Flag));
            throw new UsageException($"ambiguous option: {word} could match {names}", _usage);
        }

        if (candidates.Count == 1)
        {
            return candidates[0];
        }

        // Negative numbers and words with a blank are values, since no option of ours looks like either.
        return NegativeNumber().IsMatch(word) || word.Contains(' ', StringComparison.Ordinal) ? Value : NotOurs;
    }

    private List<Match> FindByPrefix(string word, int equals)
    {
        if (word[1] != '-')
        {
            // One hyphen: the word may be a short flag with its value glued on. argparse does this with abbreviations off, too.
            return
            [
                .. _options
                    .SelectMany(option => option.Flags, (option, flag) => (option, flag))
                    .Where(pair => pair.flag.Length == 2 && pair.flag == word[..2])
                    .Select(pair => new Match(pair.option, pair.flag, word[2..], IsValue: false)),
            ];
        }

        if (!_abbreviations)
        {
            return [];
        }

        var prefix = equals < 0 ? word : word[..equals];
        var value = equals < 0 ? null : word[(equals + 1)..];
        return
        [
            .. _options
                .SelectMany(option => option.Flags, (option, flag) => (option, flag))
                .Where(pair => pair.flag.StartsWith(prefix, StringComparison.Ordinal))
                .Select(pair => new Match(pair.option, pair.flag, value, IsValue: false)),
        ];
    }

    [GeneratedRegex(@"^-\d+$|^-\d*\.\d+$")]
    private static partial Regex NegativeNumber();

    /// <summary>What one word is: a value, a known option (perhaps with its value glued on), or nothing of ours.</summary>
    private sealed record Match(OptionDefinition? Option, string Flag, string? Value, bool IsValue);
}
