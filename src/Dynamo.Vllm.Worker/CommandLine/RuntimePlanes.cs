using Dynamo.Vllm.Worker.CommandLine.Parsing;

namespace Dynamo.Vllm.Worker.CommandLine;

public enum DiscoveryBackend
{
    Etcd,
    File,
    Kubernetes,
    Memory,
}

public enum RequestPlane
{
    Tcp,
    Nats,
}

public enum ResponsePlane
{
    Tcp,
    Quic,
}

public enum EventPlane
{
    Zmq,
    Nats,
}

/// <summary>Which transports this worker uses.</summary>
/// <remarks>Checked when the runtime is created, not while parsing: variables get past the parser unchecked, as in the reference.</remarks>
public sealed record RuntimePlanes(DiscoveryBackend Discovery, RequestPlane Request, ResponsePlane Response, EventPlane Event)
{
    /// <exception cref="ConfigurationException">A word that names no plane.</exception>
    public static RuntimePlanes From(RuntimeOptions options) =>
        new(
            options.DiscoveryBackend switch
            {
                "etcd" => DiscoveryBackend.Etcd,
                "file" => DiscoveryBackend.File,
                "kubernetes" => DiscoveryBackend.Kubernetes,
                "mem" => DiscoveryBackend.Memory,
                var word => throw Unknown(
                    "DYN_DISCOVERY_BACKEND",
                    word,
                    $"Unknown key-value store type '{word}'; expected etcd, file, kubernetes or mem"
                ),
            },
            options.RequestPlane.ToLowerInvariant() switch
            {
                "tcp" => RequestPlane.Tcp,
                "nats" => RequestPlane.Nats,
                _ => throw Unknown("DYN_REQUEST_PLANE", options.RequestPlane, "expected tcp or nats"),
            },
            options.ResponsePlane switch
            {
                "tcp" => ResponsePlane.Tcp,
                "quic" => ResponsePlane.Quic,
                _ => throw Unknown("DYN_RESPONSE_PLANE", options.ResponsePlane, "expected tcp or quic"),
            },
            (options.EventPlane ?? string.Empty).Trim().ToLowerInvariant() switch
            {
                "" or "zmq" => EventPlane.Zmq,
                "nats" => EventPlane.Nats,
                _ => throw Unknown("DYN_EVENT_PLANE", options.EventPlane!, "expected zmq or nats"),
            }
        );

    private static ConfigurationException Unknown(string variable, string word, string expected) =>
        new($"{variable}={PythonText.Quote(word)}: {expected}");
}
