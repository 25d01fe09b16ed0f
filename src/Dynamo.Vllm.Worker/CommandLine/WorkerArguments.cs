namespace Dynamo.Vllm.Worker.CommandLine;

/// <summary>The command line and the environment behind it, before vLLM has parsed its share.</summary>
public sealed record WorkerArguments
{
    public required RuntimeOptions Runtime { get; init; }

    public required VllmWorkerOptions Vllm { get; init; }

    public required HostOptions Host { get; init; }

    /// <summary>Null when no router mode was asked for: the frontend's routing then applies, whatever other router flags say.</summary>
    public RouterAdvertisement? Router { get; init; }

    /// <summary>Every router option by destination, for the configuration dump.</summary>
    public required IReadOnlyDictionary<string, object?> RouterByDestination { get; init; }

    /// <summary>The words for vLLM's own parser, verbatim and in order.</summary>
    public required IReadOnlyList<string> EngineArguments { get; init; }

    /// <summary>Uses of deprecated options and variables, one sentence each.</summary>
    public required IReadOnlyList<string> Warnings { get; init; }
}
