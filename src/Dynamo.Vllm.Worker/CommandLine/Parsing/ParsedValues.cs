namespace Dynamo.Vllm.Worker.CommandLine.Parsing;

/// <summary>What one parser understood: a value for each destination, which of them were given, and the words it left alone.</summary>
public sealed class ParsedValues
{
    private readonly IReadOnlyDictionary<string, object?> _values;
    private readonly IReadOnlySet<string> _explicit;

    internal ParsedValues(
        IReadOnlyDictionary<string, object?> values,
        IReadOnlySet<string> explicitDestinations,
        IReadOnlyList<string> remainder,
        IReadOnlyList<string> warnings,
        CommandLineRequest request
    )
    {
        _values = values;
        _explicit = explicitDestinations;
        Remainder = remainder;
        Warnings = warnings;
        Request = request;
    }

    /// <summary>The words this parser does not know, in their order, for the next one.</summary>
    public IReadOnlyList<string> Remainder { get; }

    public IReadOnlyList<string> Warnings { get; }

    /// <summary>What was asked for: running, or the help or version text, whichever came first.</summary>
    public CommandLineRequest Request { get; }

    /// <summary>Every value by destination, for the configuration dump.</summary>
    public IReadOnlyDictionary<string, object?> All => _values;

    public string? Text(string destination) => (string?)_values[destination];

    public string RequiredText(string destination) => Text(destination) ?? string.Empty;

    public bool Flag(string destination) => (bool)_values[destination]!;

    public bool? OptionalFlag(string destination) => (bool?)_values[destination];

    public long Integer(string destination) => (long)_values[destination]!;

    public long? OptionalInteger(string destination) => (long?)_values[destination];

    public double Float(string destination) => OptionalFloat(destination) ?? 0;

    // A built-in default may be written as an integer, because the help shows it that way.
    public double? OptionalFloat(string destination) => _values[destination] is long integer ? integer : (double?)_values[destination];

    public IReadOnlyList<string> Words(string destination) => (IReadOnlyList<string>)_values[destination]!;

    public T? Object<T>(string destination)
        where T : class => (T?)_values[destination];

    /// <summary>True if a flag or a variable set the value; false if it is the built-in default.</summary>
    public bool IsExplicit(string destination) => _explicit.Contains(destination);
}
