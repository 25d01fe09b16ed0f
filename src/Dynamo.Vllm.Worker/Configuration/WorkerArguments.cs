using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>The command line and the environment behind it, before vLLM has parsed its share.</summary>
public sealed record WorkerArguments
{
    /// <summary>Every option of ours and of Dynamo's, by the tables in <c>Options</c>.</summary>
    public required OptionValues Options { get; init; }

    public required HostSettings Host { get; init; }

    /// <summary>The words for vLLM's own parser, verbatim and in order.</summary>
    public required IReadOnlyList<string> EngineArguments { get; init; }

    /// <summary>Uses of deprecated options and variables, one sentence each.</summary>
    public required IReadOnlyList<string> Warnings { get; init; }
}
