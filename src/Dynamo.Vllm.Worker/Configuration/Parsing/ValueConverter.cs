using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.Worker.Configuration.Parsing;

/// <summary>Turns one word of the command line, or one variable, into the value its option holds.</summary>
internal static class ValueConverter
{
    /// <summary>Converts a word of the command line.</summary>
    /// <exception cref="FormatException">With the sentence that argparse prints after the option's name.</exception>
    public static object? FromWord(OptionDefinition option, string word)
    {
        switch (option.Kind)
        {
            case OptionKind.Integer:
                return PythonText.TryParseInteger(word, out var integer) ? integer : throw Invalid("int", word);
            case OptionKind.NullableInteger:
                return IsNone(word) ? null
                    : PythonText.TryParseInteger(word, out integer) ? integer
                    : throw Invalid("nullable_int", word);
            case OptionKind.Float:
                return PythonText.TryParseFloat(word, out var number) ? number : throw Invalid("float", word);
            case OptionKind.NullableFloat:
                return IsNone(word) ? null
                    : PythonText.TryParseFloat(word, out number) ? number
                    : throw Invalid("nullable_float", word);
            case OptionKind.StructuralTag:
                return StructuralTagSetting.Parse(word);
            case OptionKind.PrefillLoadModel:
                return word == "aic" ? "ais" : word;
            case OptionKind.ConditionalDisaggregation:
                return ConditionalDisaggregationSettings.Parse(word);
            default:
                return word;
        }
    }

    /// <summary>Converts a variable. Choices are not checked here: to argparse this value is a default.</summary>
    /// <exception cref="ConfigurationException">The text cannot be converted; the reference dies of it even with <c>--help</c>.</exception>
    public static object? FromEnvironment(OptionDefinition option, string variable, string text)
    {
        switch (option.Kind)
        {
            case OptionKind.Boolean when option.StrictEnvironment:
                return PythonText.ParseStrictBoolean(text)
                    ?? throw new ConfigurationException(
                        $"{variable}={PythonText.Quote(text)}: expected one of: true/false, 1/0, on/off, yes/no"
                    );
            case OptionKind.Boolean:
                return PythonText.IsTruthy(text);
            case OptionKind.Words:
                return PythonText.Words(text);
            case OptionKind.Integer or OptionKind.NullableInteger when !IsNoneFor(option, text) && !PythonText.TryParseInteger(text, out _):
                throw new ConfigurationException($"{variable}: invalid literal for int() with base 10: {PythonText.Quote(text)}");
            case OptionKind.Float or OptionKind.NullableFloat when !IsNoneFor(option, text) && !PythonText.TryParseFloat(text, out _):
                throw new ConfigurationException($"{variable}: could not convert string to float: {PythonText.Quote(text)}");
            default:
                try
                {
                    return FromWord(option, text);
                }
                catch (FormatException exception)
                {
                    throw new ConfigurationException($"{variable}={PythonText.Quote(text)}: {exception.Message}");
                }
        }
    }

    private static bool IsNone(string word) => word.Length == 0 || word == "None";

    private static bool IsNoneFor(OptionDefinition option, string text) =>
        option.Kind is OptionKind.NullableInteger or OptionKind.NullableFloat && IsNone(text);

    private static FormatException Invalid(string type, string word) => new($"invalid {type} value: {PythonText.Quote(word)}");
}
