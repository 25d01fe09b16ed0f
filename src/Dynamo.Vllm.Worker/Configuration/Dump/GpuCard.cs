namespace Dynamo.Vllm.Worker.Configuration.Dump;

/// <summary>A card as the driver's own tool tells of it, with its units.</summary>
/// <param name="Name">Product.</param>
/// <param name="Driver">Version of the driver.</param>
/// <param name="MemoryTotal">Such as <c>143771 MiB</c>.</param>
/// <param name="MemoryUsed">As before.</param>
/// <param name="Holders">Processes that hold memory of it; in a container the tool may not see them.</param>
internal sealed record GpuCard(string Name, string Driver, string MemoryTotal, string MemoryUsed, IReadOnlyList<string> Holders);
