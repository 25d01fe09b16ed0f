namespace Dynamo.Vllm.Worker.Configuration.Options;

/// <summary>A titled run of options in the help.</summary>
public sealed record OptionGroup(string Title, IReadOnlyList<OptionDefinition> Options);
