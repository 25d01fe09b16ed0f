using System.Globalization;
using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.Worker.Configuration.Parsing;

/// <summary>Parses the options it knows out of an argument vector and hands back the rest in order.</summary>
/// <remarks>
/// The rules are those of argparse's <c>parse_known_args</c> in Python 3.11, for a parser without positional arguments:
/// 1. Each word is classed as an option or a value before anything is consumed; after <c>--</c> everything is a value.
/// 2. An option takes as many following values as its arity allows; a word classed as an option is never a value.
/// 3. What belongs to no known option is kept for the next parser, <c>--</c> included.
/// Help and version end parsing where they stand, so an error in front of them still wins.
/// One difference is deliberate: <c>--option=--</c> stores two hyphens here, while Python 3.11 stores an empty list by mistake.
/// </remarks>
internal sealed class ArgumentParser
{
    private readonly Dictionary<string, OptionDefinition> _byFlag = [];
    private readonly Dictionary<string, object?> _defaults = [];
    private readonly HashSet<string> _fromEnvironment = [];
    private readonly List<string> _environmentWarnings = [];
    private readonly WordClassifier _words;
    private readonly string _usage;

    /// <summary>Reads the variables of all options at once.</summary>
    /// <exception cref="ConfigurationException">A variable cannot be converted.</exception>
    public ArgumentParser(
        IReadOnlyList<OptionDefinition> options,
        IReadOnlyDictionary<string, string> environment,
        bool abbreviations,
        string usage
    )
    {
        _usage = usage;
        _words = new WordClassifier(options, _byFlag, abbreviations, usage);
        foreach (var option in options)
        {
            foreach (var flag in option.Flags)
            {
                _byFlag.Add(flag, option);
            }

            ReadDefault(option, environment);
        }
    }

    public ParsedWords ParseKnown(IReadOnlyList<string> arguments)
    {
        var run = new Run(arguments, _words.Classify(arguments), new Dictionary<string, object?>(_defaults), [.. _fromEnvironment]);
        run.Warnings.AddRange(_environmentWarnings);
        while (run.Position < arguments.Count && run.Request == CommandLineRequest.Run)
        {
            var match = run.Matches[run.Position];
            if (match is { Option: { } option })
            {
                Consume(run, option, match);
            }
            else
            {
                run.Remainder.Add(arguments[run.Position++]);
            }
        }

        return new ParsedWords(new OptionValues(run.Values, run.Explicit), run.Remainder, run.Warnings, run.Request);
    }

    private void ReadDefault(OptionDefinition option, IReadOnlyDictionary<string, string> environment)
    {
        _defaults[option.Destination] = option.Default;
        var variable = option.Environment;
        if (variable is not null && option.OlderEnvironment is { } older && !environment.ContainsKey(variable))
        {
            variable = older;
        }

        // An empty string counts as set; that is how DYN_CONNECTOR='' becomes an error later.
        if (variable is null || !environment.TryGetValue(variable, out var text))
        {
            return;
        }

        var value = ValueConverter.FromEnvironment(option, variable, text);
        CheckRange(option, variable, value, message => new ConfigurationException(message));
        _defaults[option.Destination] = value;
        _fromEnvironment.Add(option.Destination);
        if (option.Replacement is not null)
        {
            _environmentWarnings.Add(option.DeprecationOf(variable));
        }
    }

    private void Consume(Run run, OptionDefinition option, ClassifiedWord match)
    {
        run.Position++;
        switch (option.Kind)
        {
            case OptionKind.Help or OptionKind.Version or OptionKind.Boolean when match.Value is { } superfluous:
                ConsumeGluedToShortFlag(run, option, match.Flag, superfluous);
                break;
            case OptionKind.Help:
                run.Request = CommandLineRequest.ShowHelp;
                break;
            case OptionKind.Version:
                run.Request = CommandLineRequest.ShowVersion;
                break;
            case OptionKind.Boolean:
                Store(run, option, match.Flag, !match.Flag.StartsWith("--no-", StringComparison.Ordinal));
                break;
            default:
                Store(run, option, match.Flag, ConvertWords(option, match.Value is { } word ? [word] : TakeValues(run, option)));
                break;
        }
    }

    /// <summary>A flag without a value got one. Glued to a short flag (<c>-hx</c>) argparse reads it as more short flags.</summary>
    private void ConsumeGluedToShortFlag(Run run, OptionDefinition option, string flag, string superfluous)
    {
        // "-h" is our only short flag, so the only chain that is not an error is "-hh...".
        var rest = flag == "-h" ? superfluous.TrimStart('h') : superfluous;
        if (rest.Length > 0 || superfluous.Length == 0)
        {
            throw Error(option, $"ignored explicit argument {PythonText.Quote(rest)}");
        }

        run.Request = CommandLineRequest.ShowHelp;
    }

    private List<string> TakeValues(Run run, OptionDefinition option)
    {
        var (least, most) = option.Kind switch
        {
            OptionKind.Words => (0, int.MaxValue),
            OptionKind.StructuralTag => (0, 1),
            _ => (1, 1),
        };
        var words = new List<string>();
        while (words.Count < most && run.Position < run.Arguments.Count && run.Matches[run.Position].IsValue)
        {
            words.Add(run.Arguments[run.Position++]);
        }

        return words.Count >= least ? words : throw Error(option, "expected one argument");
    }

    private object? ConvertWords(OptionDefinition option, List<string> words)
    {
        if (option.Kind == OptionKind.Words)
        {
            return words.ToArray();
        }

        var word = words.Count == 0 ? "true" : words[0];
        object? value;
        try
        {
            value = ValueConverter.FromWord(option, word);
        }
        catch (FormatException exception)
        {
            throw Error(option, exception.Message);
        }

        if (option.Choices is { } choices && !choices.Contains((string)value!))
        {
            var allowed = string.Join(", ", choices.Select(PythonText.Quote));
            throw Error(option, $"invalid choice: {PythonText.Quote((string)value!)} (choose from {allowed})");
        }

        CheckRange(option, $"argument {option.ErrorName}", value, message => new UsageException(message, _usage));
        return value;
    }

    private static void CheckRange(OptionDefinition option, string name, object? value, Func<string, Exception> failure)
    {
        double? given = value switch
        {
            double real => real,
            long whole => whole,
            _ => null,
        };
        if (
            given is { } number
            && option.Minimum is { } minimum
            && option.Maximum is { } maximum
            && !(number >= minimum && number <= maximum)
        )
        {
            throw failure($"{name}: must be between {Show(minimum)} and {Show(maximum)}, got {Show(number)}");
        }

        string Show(double limit) => value is long ? limit.ToString("0", CultureInfo.InvariantCulture) : PythonText.Float(limit);
    }

    private static void Store(Run run, OptionDefinition option, string flag, object? value)
    {
        run.Values[option.Destination] = value;
        run.Explicit.Add(option.Destination);
        if (option.Replacement is not null)
        {
            run.Warnings.Add(option.DeprecationOf(flag));
        }
    }

    private UsageException Error(OptionDefinition option, string message) => new($"argument {option.ErrorName}: {message}", _usage);

    /// <summary>One pass over one argument vector; owned by <see cref="ParseKnown"/>.</summary>
    private sealed class Run(
        IReadOnlyList<string> arguments,
        IReadOnlyList<ClassifiedWord> matches,
        Dictionary<string, object?> values,
        HashSet<string> explicitDestinations
    )
    {
        public IReadOnlyList<string> Arguments { get; } = arguments;

        public IReadOnlyList<ClassifiedWord> Matches { get; } = matches;

        public Dictionary<string, object?> Values { get; } = values;

        public HashSet<string> Explicit { get; } = explicitDestinations;

        public List<string> Remainder { get; } = [];

        public List<string> Warnings { get; } = [];

        public int Position { get; set; }

        public CommandLineRequest Request { get; set; }
    }
}
