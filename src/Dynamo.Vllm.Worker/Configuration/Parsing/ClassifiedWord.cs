using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.Worker.Configuration.Parsing;

/// <summary>What one word is: a value, a known option (perhaps with its value glued on), or nothing of ours.</summary>
internal sealed record ClassifiedWord(OptionDefinition? Option, string Flag, string? Value, bool IsValue);
