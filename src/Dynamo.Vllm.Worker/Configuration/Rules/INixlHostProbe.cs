namespace Dynamo.Vllm.Worker.Configuration.Rules;

/// <summary>Finds the address under which other hosts can reach this one.</summary>
public interface INixlHostProbe
{
    /// <summary>An address that is neither loopback, link-local, unspecified nor multicast; null when there is none.</summary>
    /// <remarks>Blocks for as long as the system's name resolution does. Sends no packet.</remarks>
    string? FindRoutableAddress();
}
