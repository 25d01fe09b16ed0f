namespace Dynamo.Vllm.Worker.Configuration.Options;

/// <summary>What the command line, the environment and the defaults say together. Immutable.</summary>
/// <remarks>
/// Raw: variables are not checked against an option's allowed words, and nothing is resolved yet. What an option means is in its help.
/// </remarks>
public sealed class OptionValues
{
    private readonly IReadOnlyDictionary<string, object?> _byDestination;
    private readonly IReadOnlySet<string> _explicit;

    internal OptionValues(IReadOnlyDictionary<string, object?> byDestination, IReadOnlySet<string> explicitDestinations)
    {
        _byDestination = byDestination;
        _explicit = explicitDestinations;
    }

    public T Get<T>(Option<T> option) => option.Read(_byDestination[option.Destination]);

    /// <summary>As parsed, for the configuration dump.</summary>
    public object? GetRaw(OptionDefinition option) => _byDestination[option.Destination];

    /// <summary>A flag or a variable set the value, even to the default.</summary>
    public bool IsExplicit(OptionDefinition option) => _explicit.Contains(option.Destination);

    /// <summary>The built-in defaults alone.</summary>
    internal static OptionValues DefaultsOf(IEnumerable<OptionDefinition> options) =>
        new(options.ToDictionary(option => option.Destination, option => option.Default), new HashSet<string>());

    /// <summary>The same values but one.</summary>
    internal OptionValues With<T>(Option<T> option, T value) => WithRaw(option, value);

    /// <summary>The same values but one, of the option's own type.</summary>
    internal OptionValues WithRaw(OptionDefinition option, object? value) =>
        new(new Dictionary<string, object?>(_byDestination) { [option.Destination] = value }, _explicit);

    /// <summary>The values of two parsers that share no option.</summary>
    internal OptionValues With(OptionValues other) =>
        new(_byDestination.Concat(other._byDestination).ToDictionary(), _explicit.Concat(other._explicit).ToHashSet());
}
