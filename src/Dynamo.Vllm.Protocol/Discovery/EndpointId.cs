namespace Dynamo.Vllm.Protocol.Discovery;

/// <summary>Namespace, component and endpoint: the name under which something is served (runtime.md, 2).</summary>
public sealed record EndpointId(string Namespace, string Component, string Name)
{
    public override string ToString() => $"{Namespace}.{Component}.{Name}";
}
