using Dynamo.Vllm.Transports.Tcp;
using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.Worker.Configuration;

/// <summary>The TCP request plane and the response channel.</summary>
public sealed record TcpEnvironment
{
    /// <summary>Address literal, wildcard or interface name to listen on; null means automatic.</summary>
    public string? Host { get; init; }

    /// <summary>Zero: the system chooses.</summary>
    public int Port { get; init; }

    public int FrameBytesMax { get; init; } = 33_554_432;

    public int RequestsMax { get; init; } = 10_000;

    public int QueueDepthMax { get; init; } = 40_000;

    /// <summary>Set when an engine request limit sizes the two numbers above, and requests beyond them are refused.</summary>
    public bool RejectsWhenFull { get; init; }

    public required TlsOptions Tls { get; init; }

    internal static TcpEnvironment Read(EnvironmentReader reader)
    {
        var values = new TcpEnvironment
        {
            Host = reader.Text("DYN_TCP_RPC_HOST"),
            Port = reader.Integer("DYN_TCP_RPC_PORT", 0, minimum: 0, maximum: 65535),
            FrameBytesMax = reader.Integer("DYN_TCP_MAX_MESSAGE_SIZE", 33_554_432),
            RequestsMax = reader.Integer("DYN_TCP_WORKER_POOL_SIZE", 10_000),
            QueueDepthMax = reader.Integer("DYN_TCP_WORK_QUEUE_SIZE", 40_000),
            Tls = TransportVariables.ReadTls(reader),
        };

        // The reference reads the limit here only, so its flag alone has no effect; see docs of --engine-request-limit.
        if (reader.Get(RuntimeOptions.EngineRequestLimit) is not { } limit)
        {
            return values;
        }

        // One place of the queue is the request that waits for a permit, hence the minus one.
        return values with
        {
            RequestsMax = (int)Math.Clamp(limit, 1, int.MaxValue),
            QueueDepthMax = Math.Max(1, reader.Integer("DYN_DYNAMO_REQUEST_QUEUE_LIMIT", 16, minimum: 0) - 1),
            RejectsWhenFull = true,
        };
    }
}
