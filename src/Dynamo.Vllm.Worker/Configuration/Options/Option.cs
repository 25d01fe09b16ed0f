namespace Dynamo.Vllm.Worker.Configuration.Options;

/// <summary>Makes options briefly enough that a table can be read like the help it produces.</summary>
/// <remarks>An <c>Optional...</c> option has no built-in default: its value is null until a flag or a variable gives one.</remarks>
internal static class Option
{
    public static OptionDefinition Help() =>
        new OptionDefinition
        {
            Flags = ["-h", "--help"],
            Destination = "help",
            Kind = OptionKind.Help,
            Help = "show this help message and exit",
        };

    public static OptionDefinition Version() =>
        new OptionDefinition
        {
            Flags = ["--version"],
            Destination = "version",
            Kind = OptionKind.Version,
            Help = "show program's version number and exit",
        };

    public static Option<string> Text(
        string flag,
        string? environment,
        string defaultValue,
        IReadOnlyList<string>? choices = null,
        string? destination = null,
        string? obsoleteFlag = null,
        string? replacement = null,
        string? help = null
    ) =>
        Value(
            flag,
            environment,
            OptionKind.Text,
            defaultValue,
            value => (string?)value ?? string.Empty,
            destination,
            obsoleteFlag,
            help
        ) with
        {
            Choices = choices,
            Replacement = replacement,
        };

    public static Option<string?> OptionalText(
        string flag,
        string? environment,
        IReadOnlyList<string>? choices = null,
        string? destination = null,
        string? replacement = null,
        bool hidden = false,
        string? help = null
    ) =>
        Value(flag, environment, OptionKind.Text, null, value => (string?)value, destination, null, help) with
        {
            Choices = choices,
            Replacement = replacement,
            Hidden = hidden,
        };

    public static Option<long> Integer(
        string flag,
        string? environment,
        long defaultValue,
        string? destination = null,
        string? help = null
    ) => Value(flag, environment, OptionKind.Integer, defaultValue, value => (long)value!, destination, null, help);

    public static Option<long?> OptionalInteger(string flag, string? environment, string? destination = null, string? help = null) =>
        Value(flag, environment, OptionKind.Integer, null, value => (long?)value, destination, null, help);

    /// <summary>As <see cref="OptionalInteger"/>, and the word <c>None</c> takes back what the variable said.</summary>
    public static Option<long?> NullableInteger(string flag, string? environment, string? help = null) =>
        Value(flag, environment, OptionKind.NullableInteger, null, value => (long?)value, null, null, help);

    public static Option<double> Float(
        string flag,
        string? environment,
        double defaultValue,
        string? destination = null,
        string? obsoleteFlag = null,
        string? olderEnvironment = null,
        string? replacement = null,
        bool hidden = false,
        string? help = null
    ) =>
        Value(flag, environment, OptionKind.Float, defaultValue, value => Number(value) ?? 0, destination, obsoleteFlag, help) with
        {
            OlderEnvironment = olderEnvironment,
            Replacement = replacement,
            Hidden = hidden,
        };

    /// <summary>A float whose built-in default is written as an integer, as the help shows it.</summary>
    public static Option<double> Float(string flag, string? environment, long defaultValue, string? help = null) =>
        Value(flag, environment, OptionKind.Float, defaultValue, value => Number(value) ?? 0, null, null, help);

    public static Option<double?> OptionalFloat(
        string flag,
        string? environment,
        string? destination = null,
        string? obsoleteFlag = null,
        string? olderEnvironment = null,
        string? replacement = null,
        bool hidden = false,
        string? help = null
    ) =>
        Value(flag, environment, OptionKind.Float, null, Number, destination, obsoleteFlag, help) with
        {
            OlderEnvironment = olderEnvironment,
            Replacement = replacement,
            Hidden = hidden,
        };

    /// <summary>A float that the word <c>None</c> takes back.</summary>
    public static Option<double?> NullableFloat(string flag, string? environment, string? replacement = null, string? help = null) =>
        Value(flag, environment, OptionKind.NullableFloat, null, Number, null, null, help) with
        {
            Replacement = replacement,
        };

    public static Option<bool> Boolean(
        string flag,
        string? environment,
        bool defaultValue,
        string? destination = null,
        string? obsoleteFlag = null,
        string? replacement = null,
        bool strictEnvironment = false,
        bool hidden = false,
        string? help = null
    ) =>
        Value(flag, environment, OptionKind.Boolean, defaultValue, value => (bool)value!, destination, obsoleteFlag, help) with
        {
            Replacement = replacement,
            StrictEnvironment = strictEnvironment,
            Hidden = hidden,
        };

    public static Option<bool?> OptionalBoolean(string flag, string? environment, bool hidden = false) =>
        Value(flag, environment, OptionKind.Boolean, null, value => (bool?)value, null, null, null) with
        {
            Hidden = hidden,
        };

    public static Option<IReadOnlyList<string>> Words(string flag, string environment, string[] defaultValue, string help) =>
        Value(flag, environment, OptionKind.Words, defaultValue, value => (IReadOnlyList<string>)value!, null, null, help);

    public static Option<StructuralTagSetting?> StructuralTag(string flag, string environment, string help) =>
        Value(flag, environment, OptionKind.StructuralTag, null, value => (StructuralTagSetting?)value, null, null, help);

    public static Option<string> PrefillLoadModel(
        string flag,
        string environment,
        string defaultValue,
        IReadOnlyList<string> choices,
        string help
    ) =>
        Value(flag, environment, OptionKind.PrefillLoadModel, defaultValue, value => (string)value!, null, null, help) with
        {
            Choices = choices,
        };

    public static Option<ConditionalDisaggregationSettings?> ConditionalDisaggregation(
        string flag,
        string environment,
        string destination,
        string help
    ) =>
        Value(
            flag,
            environment,
            OptionKind.ConditionalDisaggregation,
            null,
            value => (ConditionalDisaggregationSettings?)value,
            destination,
            null,
            help
        ) with
        {
            MetaVariable = "JSON",
        };

    private static Option<T> Value<T>(
        string flag,
        string? environment,
        OptionKind kind,
        object? defaultValue,
        Func<object?, T> read,
        string? destination,
        string? obsoleteFlag,
        string? help
    ) =>
        new(read)
        {
            Flags = [.. new[] { flag, obsoleteFlag }.OfType<string>().SelectMany(name => Spellings(kind, name))],
            Destination = destination ?? flag.TrimStart('-').Replace('-', '_'),
            Kind = kind,
            Environment = environment,
            Default = defaultValue,
            ObsoleteFlag = obsoleteFlag,
            Help = help,
        };

    private static string[] Spellings(OptionKind kind, string flag) => kind == OptionKind.Boolean ? [flag, "--no-" + flag[2..]] : [flag];

    // A built-in default may be written as an integer, because the help shows it that way.
    private static double? Number(object? value) => value is long integer ? integer : (double?)value;
}
