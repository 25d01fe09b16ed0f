using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Dynamo.Vllm.Transports.Nats;
using Dynamo.Vllm.Transports.Tcp;
using Dynamo.Vllm.Worker.Hosting;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.Worker.Doctor;

/// <summary>Whether NATS answers, and what callers would be told to connect to.</summary>
internal sealed class PlanesCheck(WorkerSettings settings)
{
    /// <summary>Of a server that does not answer; two tries are within the limit of a check.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(3);

    public async Task LookAtNatsAsync(Findings findings, CancellationToken cancellationToken)
    {
        var nats = settings.Runtime.Nats;
        if (!settings.Runtime.NeedsNats(settings.Planes))
        {
            findings.Ok("not used: neither plane is nats, and NATS_SERVER is not set");
            return;
        }

        var link = new NatsLink(
            nats with
            {
                StartupTimeLimit = Patience,
                ConnectTimeLimit = Patience,
            },
            TimeProvider.System,
            NullLogger<NatsLink>.Instance
        );
        await using (link.ConfigureAwait(false))
        {
            try
            {
                await link.ConnectAsync(cancellationToken).ConfigureAwait(false);
                _ = await link.AskAsync(cancellationToken).ConfigureAwait(false); // the first one also compiles what it runs
                var (version, roundTrip) = await link.AskAsync(cancellationToken).ConfigureAwait(false);
                findings.Ok($"NATS {version} at {nats.ShownServer} answers in {Milliseconds(roundTrip)}");
            }
            catch (InvalidOperationException exception)
            {
                findings.Problem(exception.Message, "start it, or name another one in NATS_SERVER; firewalls, network policies?");
            }
        }
    }

    public async Task LookAtTcpAsync(Findings findings, CancellationToken cancellationToken)
    {
        var (bind, advertised) = NetworkAddresses.Resolve(settings.Runtime.Tcp.Host);
        using var listener = new Socket(bind.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(bind, 0));
        listener.Listen(2);
        var target = new IPEndPoint(advertised, ((IPEndPoint)listener.LocalEndPoint!).Port);
        TimeSpan took;
        try
        {
            _ = await ConnectAsync(target, cancellationToken).ConfigureAwait(false); // the first one also compiles what it runs
            took = await ConnectAsync(target, cancellationToken).ConfigureAwait(false);
        }
        catch (SocketException exception)
        {
            findings.Problem(
                $"callers would be told {advertised}, and this host itself cannot connect to it: {exception.Message}",
                "name the address or the network interface that callers reach in DYN_TCP_RPC_HOST"
            );
            return;
        }

        var seen = $"callers are told {advertised}; a connection to it takes {Milliseconds(took)} from here";
        if (IPAddress.IsLoopback(advertised))
        {
            findings.Warning(seen, "only callers on this host reach it: name another address or interface in DYN_TCP_RPC_HOST");
        }
        else
        {
            findings.Ok(seen);
        }
    }

    /// <returns>How long it took.</returns>
    /// <exception cref="SocketException">Nobody takes it.</exception>
    public static async Task<TimeSpan> ConnectAsync(IPEndPoint target, CancellationToken cancellationToken)
    {
        using var socket = new Socket(target.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        var started = Stopwatch.GetTimestamp();
        await socket.ConnectAsync(target, cancellationToken).ConfigureAwait(false);
        return Stopwatch.GetElapsedTime(started);
    }

    public static string Milliseconds(TimeSpan time) => string.Create(CultureInfo.InvariantCulture, $"{time.TotalMilliseconds:0.0} ms");
}
