using System.Globalization;
using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Transports.Tcp;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.Worker.Doctor;

/// <summary>Whether what the configuration would bind can be bound, and who has it otherwise.</summary>
/// <remarks>Of vLLM's own sockets those that a flag or a variable names; data-parallel ranks add their number to them.</remarks>
internal sealed class PortsCheck(WorkerSettings settings)
{
    /// <summary>vLLM's default.</summary>
    private const string SideChannelPort = "5600";

    public async Task LookAsync(Findings findings, CancellationToken cancellationToken)
    {
        await LookAtStatusAsync(findings, cancellationToken).ConfigureAwait(false);
        if (settings.Planes.Request == RequestPlane.Tcp)
        {
            var (bind, _) = NetworkAddresses.Resolve(settings.Runtime.Tcp.Host);
            LookAt(findings, "request plane (DYN_TCP_RPC_PORT)", bind, settings.Runtime.Tcp.Port);
        }

        var arguments = settings.Arguments.EngineArguments;
        var events = ReadObject(RawArguments.ValueOf(arguments, "--kv-events-config"));
        if ((string?)events?["endpoint"] is { } endpoint && PortOf(endpoint) is { } eventPort)
        {
            LookAt(findings, $"KV events of the engine ({endpoint})", IPAddress.Any, eventPort);
        }

        var transfer = ReadObject(RawArguments.ValueOf(arguments, "--kv-transfer-config"));
        if (((string?)transfer?["kv_connector"])?.Contains("Nixl", StringComparison.Ordinal) == true)
        {
            var text = settings.Environment.GetValueOrDefault("VLLM_NIXL_SIDE_CHANNEL_PORT", SideChannelPort);
            LookAtNumber(findings, "NIXL side channel (VLLM_NIXL_SIDE_CHANNEL_PORT)", text);
        }

        if (settings.Environment.GetValueOrDefault("DYN_FORWARDPASS_METRIC_PORT") is { Length: > 0 } metrics)
        {
            LookAtNumber(findings, "forward passes (DYN_FORWARDPASS_METRIC_PORT)", metrics);
        }
    }

    private async Task LookAtStatusAsync(Findings findings, CancellationToken cancellationToken)
    {
        var status = settings.Runtime.SystemServer;
        if (!status.IsEnabled && settings.Arguments.Host.GrpcPort is null)
        {
            findings.Warning(
                "no status port",
                "set DYN_SYSTEM_PORT: without it there are no probes, no metrics, and no files for frontends"
            );
            return;
        }

        IPAddress address;
        try
        {
            address = await HostAddress.ResolveAsync(status.Host, cancellationToken).ConfigureAwait(false);
        }
        catch (IOException exception)
        {
            findings.Problem($"DYN_SYSTEM_HOST={status.Host}: {exception.Message}", "name an address of this host");
            return;
        }

        if (status.IsEnabled)
        {
            LookAt(findings, "status port (DYN_SYSTEM_PORT)", address, status.Port);
        }

        foreach (var port in settings.FurtherStatusPorts)
        {
            LookAt(findings, "further status port", address, port);
        }

        if (settings.Arguments.Host.GrpcPort is { } grpc)
        {
            LookAt(findings, "gRPC (--grpc-port)", address, grpc);
        }
    }

    private static void LookAtNumber(Findings findings, string what, string text)
    {
        if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var port) && port <= IPEndPoint.MaxPort)
        {
            LookAt(findings, what, IPAddress.Any, port);
        }
        else
        {
            findings.Problem($"{what}: '{text}' is no port", $"give a number up to {IPEndPoint.MaxPort}");
        }
    }

    private static void LookAt(Findings findings, string what, IPAddress address, int port)
    {
        if (port == 0)
        {
            findings.Ok($"{what}: on {address}, the system chooses the port");
        }
        else if (HostAddress.WhyNotBound(new IPEndPoint(address, port)) is not { } problem)
        {
            findings.Ok($"{what}: {new IPEndPoint(address, port)} is free");
        }
        else
        {
            var holder = ProcFiles.HolderOf(port) is { } name ? $", held by {name}" : "";
            findings.Problem($"{what}: {new IPEndPoint(address, port)}: {problem}{holder}", "end what holds it, or choose another port");
        }
    }

    /// <summary>Null where there is none, or vLLM's parser will refuse it.</summary>
    private static JsonObject? ReadObject(string? json)
    {
        try
        {
            return json is null ? null : JsonNode.Parse(json) as JsonObject;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static int? PortOf(string endpoint) =>
        endpoint.StartsWith("tcp://", StringComparison.Ordinal)
        && int.TryParse(endpoint.AsSpan(endpoint.LastIndexOf(':') + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port)
            ? port
            : null;
}
