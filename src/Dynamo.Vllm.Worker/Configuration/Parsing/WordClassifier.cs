using System.Text.RegularExpressions;
using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.Worker.Configuration.Parsing;

/// <summary>Which words are options, and which known option each of them names: the first step of <see cref="ArgumentParser"/>.</summary>
/// <param name="options">Those that are known.</param>
/// <param name="byFlag">The same by their spellings.</param>
/// <param name="abbreviations">A beginning that fits one spelling alone names the option.</param>
/// <param name="usage">For an error.</param>
internal sealed partial class WordClassifier(
    IReadOnlyList<OptionDefinition> options,
    IReadOnlyDictionary<string, OptionDefinition> byFlag,
    bool abbreviations,
    string usage
)
{
    private static readonly ClassifiedWord Value = new(null, string.Empty, null, IsValue: true);
    private static readonly ClassifiedWord NotOurs = new(null, string.Empty, null, IsValue: false);

    /// <summary>One for each word.</summary>
    /// <exception cref="UsageException">An abbreviation could mean several options.</exception>
    public List<ClassifiedWord> Classify(IReadOnlyList<string> arguments)
    {
        var matches = new List<ClassifiedWord>(arguments.Count);
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

    private ClassifiedWord ClassifyWord(string word)
    {
        if (word.Length == 0 || word[0] != '-')
        {
            return Value;
        }

        if (byFlag.TryGetValue(word, out var exact))
        {
            return new ClassifiedWord(exact, word, null, IsValue: false);
        }

        if (word.Length == 1)
        {
            return Value;
        }

        var equals = word.IndexOf('=', StringComparison.Ordinal);
        if (equals >= 0 && byFlag.TryGetValue(word[..equals], out var assigned))
        {
            return new ClassifiedWord(assigned, word[..equals], word[(equals + 1)..], IsValue: false);
        }

        var candidates = FindByPrefix(word, equals);
        if (candidates.Count > 1)
        {
            var names = string.Join(", ", candidates.Select(candidate => candidate.Flag));
            throw new UsageException($"ambiguous option: {word} could match {names}", usage);
        }

        if (candidates.Count == 1)
        {
            return candidates[0];
        }

        // Negative numbers and words with a blank are values, since no option of ours looks like either.
        return NegativeNumber().IsMatch(word) || word.Contains(' ', StringComparison.Ordinal) ? Value : NotOurs;
    }

    private List<ClassifiedWord> FindByPrefix(string word, int equals)
    {
        if (word[1] != '-')
        {
            // One hyphen: the word may be a short flag with its value glued on. argparse does this with abbreviations off, too.
            return
            [
                .. options
                    .SelectMany(option => option.Flags, (option, flag) => (option, flag))
                    .Where(pair => pair.flag.Length == 2 && pair.flag == word[..2])
                    .Select(pair => new ClassifiedWord(pair.option, pair.flag, word[2..], IsValue: false)),
            ];
        }

        if (!abbreviations)
        {
            return [];
        }

        var prefix = equals < 0 ? word : word[..equals];
        var value = equals < 0 ? null : word[(equals + 1)..];
        return
        [
            .. options
                .SelectMany(option => option.Flags, (option, flag) => (option, flag))
                .Where(pair => pair.flag.StartsWith(prefix, StringComparison.Ordinal))
                .Select(pair => new ClassifiedWord(pair.option, pair.flag, value, IsValue: false)),
        ];
    }

    [GeneratedRegex(@"^-\d+$|^-\d*\.\d+$")]
    private static partial Regex NegativeNumber();
}
