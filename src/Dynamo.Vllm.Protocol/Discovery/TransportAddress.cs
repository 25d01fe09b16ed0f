namespace Dynamo.Vllm.Protocol.Discovery;

/// <summary>Where an endpoint takes requests. Exactly one form is set (discovery.md, 2.1).</summary>
/// <param name="Kind"><c>tcp</c> or <c>nats_tcp</c>.</param>
/// <param name="Value"><c>ip:port/{path}</c>, or a NATS subject.</param>
public sealed record TransportAddress(string Kind, string Value)
{
    public static TransportAddress Tcp(string address, InstanceId instance, EndpointId endpoint) =>
        new("tcp", $"{address}/{TcpPath(instance, endpoint)}");

    public static TransportAddress Nats(InstanceId instance, EndpointId endpoint) => new("nats_tcp", NatsSubject(instance, endpoint));

    /// <summary>The path that each request names: <c>{id}/{namespace}/{component}/{endpoint}</c>,
    /// with <c>%</c> and <c>/</c> escaped.</summary>
    public static string TcpPath(InstanceId instance, EndpointId endpoint) =>
        $"{instance.Hex}/{Escape(endpoint.Namespace)}/{Escape(endpoint.Component)}/{Escape(endpoint.Name)}";

    public static string NatsSubject(InstanceId instance, EndpointId endpoint) =>
        $"{endpoint.Namespace}_{endpoint.Component}.{endpoint.Name}-{instance.Hex}";

    private static string Escape(string name) =>
        name.Replace("%", "%25", StringComparison.Ordinal).Replace("/", "%2F", StringComparison.Ordinal);
}
