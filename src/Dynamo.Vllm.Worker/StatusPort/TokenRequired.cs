namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>Marks a route that controls the worker, or tells about it what probes and scrapes need not know.</summary>
internal sealed class TokenRequired
{
    public static readonly TokenRequired Instance = new();
}
