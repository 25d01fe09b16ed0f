namespace Dynamo.Vllm.Worker.Configuration.Options;

/// <summary>An option and the type of its value: the only place where the option is written down.</summary>
/// <remarks>Its value is asked for with <see cref="OptionValues.Get{T}"/>.</remarks>
public sealed record Option<T> : OptionDefinition
{
    private readonly Func<object?, T> _read;

    internal Option(Func<object?, T> read) => _read = read;

    /// <summary>The option as a field of the model card.</summary>
    internal Option<T> OnCard(CardSection section) => this with { Card = new CardField(section, IsAbsentAtDefault: false) };

    /// <summary>The option as a field of the model card that is left out at its default.</summary>
    internal Option<T> OnCardUnlessDefault(CardSection section) => this with { Card = new CardField(section, IsAbsentAtDefault: true) };

    internal T Read(object? value) => _read(value);
}
