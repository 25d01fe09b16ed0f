namespace Dynamo.Vllm.Protocol.Requests;

/// <summary>What a client of <c>/inference/v1/generate</c> asked for, in
/// vLLM's own names (<c>extra_args.vllm_tito</c>).</summary>
/// <remarks>vLLM reads the whole; here is what the worker itself acts on, and what it checks before.</remarks>
public sealed class NativeGenerate
{
    /// <summary>The envelope as JSON, to be read by vLLM.</summary>
    public required ReadOnlyMemory<byte> Json { get; init; }

    /// <summary>Choices.</summary>
    public int N { get; init; } = 1;

    public string? CacheSalt { get; init; }

    /// <summary>A schema that the answer must follow, as JSON.</summary>
    public ReadOnlyMemory<byte>? JsonSchema { get; init; }

    /// <summary>From which token of the prompt on the experts are reported.</summary>
    public int RoutedExpertsPromptStart { get; init; }
}
