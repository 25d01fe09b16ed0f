using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Configuration;

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
    public static RuntimePlanes From(OptionValues options) =>
        new(
            options.Get(RuntimeOptions.DiscoveryBackend) switch
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
            options.Get(RuntimeOptions.RequestPlane).ToLowerInvariant() switch
            {
                "tcp" => RequestPlane.Tcp,
                "nats" => RequestPlane.Nats,
                _ => throw Unknown("DYN_REQUEST_PLANE", options.Get(RuntimeOptions.RequestPlane), "expected tcp or nats"),
            },
            options.Get(RuntimeOptions.ResponsePlane) switch
            {
                "tcp" => ResponsePlane.Tcp,
                "quic" => ResponsePlane.Quic,
                _ => throw Unknown("DYN_RESPONSE_PLANE", options.Get(RuntimeOptions.ResponsePlane), "expected tcp or quic"),
            },
            (options.Get(RuntimeOptions.EventPlane) ?? string.Empty).Trim().ToLowerInvariant() switch
            {
                "" or "zmq" => EventPlane.Zmq,
                "nats" => EventPlane.Nats,
                _ => throw Unknown("DYN_EVENT_PLANE", options.Get(RuntimeOptions.EventPlane)!, "expected zmq or nats"),
            }
        );

    private static ConfigurationException Unknown(string variable, string word, string expected) =>
        new($"{variable}={PythonText.Quote(word)}: {expected}");
}
