namespace Dynamo.Vllm.Transports.Adapters;

/// <summary>One file to fetch.</summary>
/// <param name="Name">Path below the adapter's folder, with slashes.</param>
/// <param name="Address">Where it is.</param>
internal sealed record AdapterFile(string Name, Uri Address);
