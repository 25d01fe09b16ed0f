using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>Reads single variables and remembers what it had to replace by a default.</summary>
internal sealed class EnvironmentReader(IReadOnlyDictionary<string, string> environment, OptionValues options)
{
    // Ten years: above it a time limit is a typing error, and timers and TimeSpan arithmetic stay far from their own limits.
    public const double SecondsMax = 315_360_000;

    public List<string> Warnings { get; } = [];

    public bool IsSet(string variable) => environment.ContainsKey(variable);

    /// <summary>The text, or null when the variable is not set or empty.</summary>
    public string? Text(string variable) => environment.GetValueOrDefault(variable) is { Length: > 0 } text ? text : null;

    /// <summary>As <see cref="Text(string)"/>, of an option: an empty flag leaves the word to the variable.</summary>
    public string? Text(Option<string?> option) => options.Get(option) is { Length: > 0 } text ? text : Text(option.Environment!);

    public T Get<T>(Option<T> option) => options.Get(option);

    public bool Flag(string variable, bool defaultValue = false) =>
        environment.TryGetValue(variable, out var text) ? PythonText.IsTruthy(text) : defaultValue;

    /// <summary>A whole number within its limits; anything else is the default, with a warning.</summary>
    public int Integer(string variable, int defaultValue, int minimum = 1, int maximum = int.MaxValue)
    {
        if (Text(variable) is not { } text)
        {
            return defaultValue;
        }

        if (PythonText.TryParseInteger(text, out var value) && value >= minimum && value <= maximum)
        {
            return (int)value;
        }

        Warnings.Add($"{variable}={PythonText.Quote(text)} is not a whole number between {minimum} and {maximum}; using {defaultValue}");
        return defaultValue;
    }

    /// <summary>A number of seconds; anything unreadable is the default, with a warning. Negative numbers count as zero.</summary>
    public TimeSpan Seconds(string variable, double defaultValue)
    {
        if (Text(variable) is not { } text)
        {
            return TimeSpan.FromSeconds(defaultValue);
        }

        if (PythonText.TryParseFloat(text, out var value) && value <= SecondsMax)
        {
            return TimeSpan.FromSeconds(Math.Max(0, value));
        }

        Warnings.Add($"{variable}={PythonText.Quote(text)} is not a number of seconds; using {PythonText.Float(defaultValue)}");
        return TimeSpan.FromSeconds(defaultValue);
    }

    /// <summary>As <see cref="Seconds"/>, but zero also means the default: these limits cannot be switched off.</summary>
    public TimeSpan PositiveSeconds(string variable, double defaultValue)
    {
        var value = Seconds(variable, defaultValue);
        return value > TimeSpan.Zero ? value : TimeSpan.FromSeconds(defaultValue);
    }
}
