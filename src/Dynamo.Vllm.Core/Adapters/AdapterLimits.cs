namespace Dynamo.Vllm.Core.Adapters;

/// <summary>What a load may ask for.</summary>
public sealed record AdapterLimits
{
    /// <summary>The name is a model name, a file name in some discovery stores, and in every cache event.</summary>
    public int NameCharsMax { get; init; } = 512;

    public int UriCharsMax { get; init; } = 4096;

    /// <summary>
    /// Adapters at a time. Far above <c>--max-loras</c> and <c>--max-cpu-loras</c>: those bound what is in memory, and the engine loads an
    /// evicted adapter again when a request comes for it. Each costs a record in discovery.
    /// </summary>
    public int LoadedMax { get; init; } = 1024;
}
