namespace Dynamo.Vllm.Worker.CommandLine.Options;

/// <summary>Builds <see cref="OptionDefinition"/>s briefly enough that a table can be read like the help it produces.</summary>
internal static class Option
{
    public static OptionDefinition Help() =>
        new()
        {
            Flags = ["-h", "--help"],
            Destination = "help",
            Kind = OptionKind.Help,
            Help = "show this help message and exit",
        };

    public static OptionDefinition Version() =>
        new()
        {
            Flags = ["--version"],
            Destination = "version",
            Kind = OptionKind.Version,
            Help = "show program's version number and exit",
        };

    public static OptionDefinition Text(
        string flag,
        string? environment,
        string? defaultValue,
        IReadOnlyList<string>? choices = null,
        string? destination = null,
        string? obsoleteFlag = null,
        string? replacement = null,
        bool hidden = false,
        string? help = null
    ) =>
        Value(flag, environment, OptionKind.Text, defaultValue, destination, help) with
        {
            Choices = choices,
            ObsoleteFlag = obsoleteFlag,
            Flags = obsoleteFlag is null ? [flag] : [flag, obsoleteFlag],
            Replacement = replacement,
            Hidden = hidden,
        };

    public static OptionDefinition Integer(
        string flag,
        string? environment,
        long? defaultValue,
        string? destination = null,
        string? help = null
    ) => Value(flag, environment, OptionKind.Integer, defaultValue, destination, help);

    public static OptionDefinition Float(
        string flag,
        string? environment,
        double? defaultValue,
        string? destination = null,
        string? obsoleteFlag = null,
        string? olderEnvironment = null,
        string? replacement = null,
        bool hidden = false,
        string? help = null
    ) =>
        Value(flag, environment, OptionKind.Float, defaultValue, destination, help) with
        {
            ObsoleteFlag = obsoleteFlag,
            OlderEnvironment = olderEnvironment,
            Flags = obsoleteFlag is null ? [flag] : [flag, obsoleteFlag],
            Replacement = replacement,
            Hidden = hidden,
        };

    /// <summary>A float whose built-in default is written as an integer, as the help shows it.</summary>
    public static OptionDefinition Float(string flag, string? environment, long defaultValue, string? help = null) =>
        Value(flag, environment, OptionKind.Float, defaultValue, null, help);

    public static OptionDefinition NullableFloat(string flag, string? environment, string? replacement = null, string? help = null) =>
        Value(flag, environment, OptionKind.NullableFloat, null, null, help) with
        {
            Replacement = replacement,
        };

    public static OptionDefinition NullableInteger(string flag, string? environment, string? help = null) =>
        Value(flag, environment, OptionKind.NullableInteger, null, null, help);

    public static OptionDefinition Boolean(
        string flag,
        string? environment,
        bool? defaultValue,
        string? destination = null,
        string? obsoleteFlag = null,
        string? replacement = null,
        bool strictEnvironment = false,
        bool hidden = false,
        string? help = null
    ) =>
        Value(flag, environment, OptionKind.Boolean, defaultValue, destination, help) with
        {
            Flags = obsoleteFlag is null ? [flag, Negative(flag)] : [flag, Negative(flag), obsoleteFlag, Negative(obsoleteFlag)],
            ObsoleteFlag = obsoleteFlag,
            Replacement = replacement,
            StrictEnvironment = strictEnvironment,
            Hidden = hidden,
        };

    public static OptionDefinition Words(string flag, string environment, string[] defaultValue, string help) =>
        Value(flag, environment, OptionKind.Words, defaultValue, null, help);

    public static OptionDefinition StructuralTag(string flag, string environment, string help) =>
        Value(flag, environment, OptionKind.StructuralTag, null, null, help);

    public static OptionDefinition PrefillLoadModel(
        string flag,
        string environment,
        string defaultValue,
        IReadOnlyList<string> choices,
        string help
    ) => Value(flag, environment, OptionKind.PrefillLoadModel, defaultValue, null, help) with { Choices = choices };

    public static OptionDefinition ConditionalDisaggregation(string flag, string environment, string destination, string help) =>
        Value(flag, environment, OptionKind.ConditionalDisaggregation, null, destination, help) with
        {
            MetaVariable = "JSON",
        };

    private static OptionDefinition Value(
        string flag,
        string? environment,
        OptionKind kind,
        object? defaultValue,
        string? destination,
        string? help
    ) =>
        new()
        {
            Flags = [flag],
            Destination = destination ?? flag.TrimStart('-').Replace('-', '_'),
            Kind = kind,
            Environment = environment,
            Default = defaultValue,
            Help = help,
        };

    private static string Negative(string flag) => "--no-" + flag[2..];
}
