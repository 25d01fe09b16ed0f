using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.Worker.Configuration.Parsing;

/// <summary>What one parser made of its words.</summary>
/// <param name="Options">The values of all options of this parser.</param>
/// <param name="Remainder">The words this parser does not know, in their order, for the next one.</param>
/// <param name="Warnings">Uses of deprecated options and variables, one sentence each.</param>
/// <param name="Request">What was asked for: running, or the help or version text, whichever came first.</param>
internal sealed record ParsedWords(
    OptionValues Options,
    IReadOnlyList<string> Remainder,
    IReadOnlyList<string> Warnings,
    CommandLineRequest Request
);
