namespace Dynamo.Vllm.Worker.Configuration.Options;

/// <summary>Where in the model card an option's value stands, under its <see cref="OptionDefinition.Destination"/>.</summary>
/// <param name="Section">The object that holds it.</param>
/// <param name="IsAbsentAtDefault">Left out while the value is the built-in default; else it stands there always.</param>
public sealed record CardField(CardSection Section, bool IsAbsentAtDefault);
