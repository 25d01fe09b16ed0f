namespace Dynamo.Vllm.Worker.Configuration.Options;

/// <summary>One option of the command line: how it is spelt, where its default comes from and what the help says about it.</summary>
/// <remarks>Immutable and shared: the tables are static, and everything that varies with the environment lives in the parser.</remarks>
public record OptionDefinition
{
    /// <summary>Every accepted spelling, in argparse's order: for a Boolean each name is followed by its <c>--no-</c> form.</summary>
    public required IReadOnlyList<string> Flags { get; init; }

    /// <summary>The name under which the value is kept and dumped.</summary>
    public required string Destination { get; init; }

    public required OptionKind Kind { get; init; }

    /// <summary>The variable that replaces <see cref="Default"/>; null for options without one.</summary>
    public string? Environment { get; init; }

    /// <summary>An older variable, read only while <see cref="Environment"/> is not set.</summary>
    public string? OlderEnvironment { get; init; }

    /// <summary>The value is written back to <see cref="Environment"/>, where vLLM and its connectors look for it.</summary>
    public bool Exported { get; init; }

    /// <summary>Where in the model card the value stands; null for options that are no field of it.</summary>
    public CardField? Card { get; init; }

    /// <summary>The built-in default, already converted. The help shows this one, whatever the environment says.</summary>
    public object? Default { get; init; }

    /// <summary>Allowed words. Checked for words of the command line only: argparse does not look at defaults, so neither do we.</summary>
    public IReadOnlyList<string>? Choices { get; init; }

    public string? Help { get; init; }

    public string? MetaVariable { get; init; }

    /// <summary>Parsed but not shown in usage and help.</summary>
    public bool Hidden { get; init; }

    /// <summary>The old flag that <see cref="Flags"/> still accepts; named in the help.</summary>
    public string? ObsoleteFlag { get; init; }

    /// <summary>What to use instead of this deprecated option; null when it is not deprecated.</summary>
    public string? Replacement { get; init; }

    /// <summary>The variable is an error unless it is a word for true or false. Other variables take any unknown word as false.</summary>
    public bool StrictEnvironment { get; init; }

    /// <summary>The smallest accepted number of an option of our own; the reference's options have their limits in the resolver.</summary>
    public double? Minimum { get; init; }

    public double? Maximum { get; init; }

    public bool TakesValue => Kind is not (OptionKind.Boolean or OptionKind.Help or OptionKind.Version);

    /// <summary>The name argparse gives the option in its error messages.</summary>
    public string ErrorName => string.Join('/', Flags);

    /// <summary>The sentence for a use of this deprecated option under the given name (a flag or a variable).</summary>
    public string DeprecationOf(string name) => $"{name} is deprecated and will be removed in v1.7; use {Replacement}.";
}
