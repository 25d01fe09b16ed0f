using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Transports.Etcd;
using Dynamo.Vllm.Transports.Media;
using Dynamo.Vllm.Transports.Nats;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Configuration.Parsing;

namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>What the transports and the runtime are told by variables and flags; parsed once, before anything starts.</summary>
/// <remarks>
/// A variable that has a flag is taken from the options, whose value is the flag's where both are given. Where the reference replaces
/// a wrong value by its default, so do we, and <see cref="Warnings"/> says so; where it refuses to start, <see cref="Parse"/> throws.
/// </remarks>
public sealed record RuntimeEnvironment
{
    public required TcpEnvironment Tcp { get; init; }

    public required NatsOptions Nats { get; init; }

    /// <summary>The address of NATS was given, which alone asks for a connection.</summary>
    public required bool NatsServerIsSet { get; init; }

    public required EtcdOptions Etcd { get; init; }

    public required SystemServerEnvironment SystemServer { get; init; }

    public required HealthEnvironment Health { get; init; }

    public required ShutdownEnvironment Shutdown { get; init; }

    public required LoggingEnvironment Logging { get; init; }

    public required TopologyEnvironment Topology { get; init; }

    public required LoraEnvironment Lora { get; init; }

    /// <summary>What may be fetched for requests with media.</summary>
    public required MediaSourceOptions Media { get; init; }

    /// <summary>Root directory of the file discovery backend.</summary>
    public required string FileStoreRoot { get; init; }

    /// <summary>What this worker advertises for request payloads.</summary>
    public required PayloadCodec RequestPlaneCodec { get; init; }

    /// <summary>Interface or address that event sockets bind; null means automatic.</summary>
    public required string? EventPlaneHost { get; init; }

    /// <summary>Event brokers that are named; they are preferred to those that discovery knows.</summary>
    public required string? EventBrokerUrl { get; init; }

    /// <summary>Events go through brokers that discovery knows.</summary>
    public required bool EventBrokerEnabled { get; init; }

    /// <summary><c>device_type</c> of the instance record.</summary>
    public required string DeviceType { get; init; }

    /// <summary>Tokenizer and configuration files are served by the system server and linked in the card.</summary>
    public required bool SelfHostMetadata { get; init; }

    public required IReadOnlyList<string> Warnings { get; init; }

    /// <exception cref="ConfigurationException">A value with which the reference does not start either.</exception>
    public static RuntimeEnvironment Parse(IReadOnlyDictionary<string, string> environment, OptionValues options)
    {
        var reader = new EnvironmentReader(environment, options);
        return new RuntimeEnvironment
        {
            Tcp = TcpEnvironment.Read(reader),
            Nats = TransportVariables.ReadNats(reader),
            NatsServerIsSet = reader.IsSet("NATS_SERVER"),
            Etcd = TransportVariables.ReadEtcd(reader),
            SystemServer = SystemServerEnvironment.Read(reader),
            Health = HealthEnvironment.Read(reader),
            Shutdown = ShutdownEnvironment.Read(reader),
            Logging = LoggingEnvironment.Read(reader),
            Topology = TopologyEnvironment.Read(reader),
            Lora = LoraEnvironment.Read(reader),
            Media = MediaVariables.Read(reader),
            FileStoreRoot = reader.Text("DYN_FILE_KV") ?? Path.Join(reader.Text("TMPDIR") ?? "/tmp", "dynamo_store_kv"),
            RequestPlaneCodec = ReadCodec(reader),
            EventPlaneHost = reader.Text("DYN_EVENT_PLANE_HOST"),
            EventBrokerUrl = reader.Text("DYN_ZMQ_BROKER_URL"),
            EventBrokerEnabled = reader.Flag("DYN_ZMQ_BROKER_ENABLED"),
            DeviceType = ReadDeviceType(reader),
            SelfHostMetadata = reader.Flag("DYN_SELF_HOST_METADATA", defaultValue: true),
            Warnings = reader.Warnings,
        };
    }

    /// <summary>A NATS connection is opened, and must succeed, also when only its address is set.</summary>
    public bool NeedsNats(RuntimePlanes planes) =>
        planes.Request == RequestPlane.Nats || planes.Event == EventPlane.Nats || NatsServerIsSet;

    private static PayloadCodec ReadCodec(EnvironmentReader reader)
    {
        const string variable = "DYN_REQUEST_PLANE_CODEC";
        switch (reader.Text(variable)?.Trim().ToLowerInvariant())
        {
            case null or "" or "msgpack":
                return PayloadCodec.MessagePack;
            case "json":
                return PayloadCodec.Json;
            default:
                reader.Warnings.Add($"{variable}={PythonText.Quote(reader.Text(variable)!)} is neither msgpack nor json; using msgpack");
                return PayloadCodec.MessagePack;
        }
    }

    // Without a word to the contrary a worker counts as a GPU worker, also on a machine that has none.
    private static string ReadDeviceType(EnvironmentReader reader)
    {
        var hidden =
            reader.IsSet("CUDA_VISIBLE_DEVICES")
            && (reader.Text("CUDA_VISIBLE_DEVICES") ?? string.Empty).Trim().ToLowerInvariant() is "" or "-1" or "none" or "void";
        return hidden || reader.Text("NVIDIA_VISIBLE_DEVICES")?.Trim().ToLowerInvariant() is "none" or "void" ? "cpu" : "cuda";
    }
}
