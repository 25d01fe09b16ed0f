using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Text;
using Dynamo.Vllm.Transports;
using Dynamo.Vllm.Transports.Security;
using Dynamo.Vllm.Transports.Tcp;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.Extensions.Options;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>The host's Kestrel, on the addresses that an operator names: the status port and, where asked for, gRPC.</summary>
/// <remarks>
/// Up before the first stage and down after the last one. A status port that cannot be bound is logged and not fatal, as in the reference:
/// the worker can serve without it. A gRPC port is asked for by name, so one that cannot be had ends the start.
/// </remarks>
internal sealed partial class StatusServer : IServer
{
    /// <summary>Open keep-alive connections must not hold the exit.</summary>
    public static readonly TimeSpan StopLimit = TimeSpan.FromSeconds(2);

    private static readonly TimeSpan WarmUpLimit = TimeSpan.FromSeconds(5);

    private readonly IServer _kestrel;
    private readonly KestrelServerOptions _kestrelOptions;
    private readonly SystemServerEnvironment _options;
    private readonly IReadOnlyList<int> _furtherPorts;
    private readonly int? _grpcPort;
    private readonly bool _takesRequests;
    private readonly bool _hasToken;
    private readonly ServerIdentity? _identity;
    private readonly ILogger<StatusServer> _logger;

    /// <param name="kestrel">Binds and serves.</param>
    /// <param name="kestrelOptions">Of it: read when it starts.</param>
    /// <param name="settings">Addresses.</param>
    /// <param name="time">Clock.</param>
    /// <param name="loggers">Log.</param>
    /// <exception cref="ConfigurationException">Certificate or key cannot be used.</exception>
    public StatusServer(
        IServer kestrel,
        IOptions<KestrelServerOptions> kestrelOptions,
        WorkerSettings settings,
        TimeProvider time,
        ILoggerFactory loggers
    )
    {
        _kestrel = kestrel;
        _kestrelOptions = kestrelOptions.Value;
        _options = settings.Runtime.SystemServer;
        _furtherPorts = settings.FurtherStatusPorts;
        _grpcPort = settings.Arguments.Host.GrpcPort;
        _takesRequests = settings.Arguments.Host.GrpcRequests;
        _hasToken = settings.Arguments.Host.SystemTokenFile is not null;
        _logger = loggers.CreateLogger<StatusServer>();
        _identity = settings.Arguments.Host.SystemTls is var (certificate, key) ? Identity(certificate, key, time, loggers) : null;
    }

    public IFeatureCollection Features => _kestrel.Features;

    /// <summary>Where the status port listens, or null where it does not.</summary>
    public IPEndPoint? Address { get; private set; }

    /// <summary>Where others find it, or null where it does not listen.</summary>
    public string? Url
    {
        get
        {
            if (Address is not { } bound)
            {
                return null;
            }

            var address = NetworkAddresses.IsWildcard(bound.Address) ? NetworkAddresses.Automatic(bound.AddressFamily) : bound.Address;
            return $"{(_identity is null ? "http" : "https")}://{new IPEndPoint(address, bound.Port)}";
        }
    }

    public async Task StartAsync<TContext>(IHttpApplication<TContext> application, CancellationToken cancellationToken)
        where TContext : notnull
    {
        try
        {
            if (!await ListenAsync(cancellationToken).ConfigureAwait(false))
            {
                return;
            }

            await _kestrel.StartAsync(application, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is IOException or SocketException)
        {
            // Kestrel has the first for a port in use, and hands on the second: a foreign address, a port below 1024 without the right.
            LogCannotListen(_logger, _options.Host, _options.Port, exception.Message.TrimEnd('.'));
            return;
        }

        if (_options.IsEnabled)
        {
            Address = BoundAddress();
            LogListening(_logger, Address);
            if (!_hasToken && Address is { } bound && !IPAddress.IsLoopback(bound.Address))
            {
                LogOpen(_logger, bound);
            }

            await WarmUpAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    public async Task StopAsync(CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(StopLimit);
        await _kestrel.StopAsync(limit.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    public void Dispose() => _kestrel.Dispose();

    private static ServerIdentity Identity(string certificate, string key, TimeProvider time, ILoggerFactory loggers)
    {
        try
        {
            return new ServerIdentity(
                certificate,
                OwnOptions.SystemTlsCert.Flags[0],
                key,
                OwnOptions.SystemTlsKey.Flags[0],
                time,
                loggers.CreateLogger<ServerIdentity>()
            );
        }
        catch (InvalidOperationException exception)
        {
            throw new ConfigurationException(exception.Message);
        }
    }

    /// <returns>False if there is nothing to listen on.</returns>
    private async Task<bool> ListenAsync(CancellationToken cancellationToken)
    {
        if (!_options.IsEnabled && _grpcPort is null)
        {
            return false;
        }

        var address = await HostAddress.ResolveAsync(_options.Host, cancellationToken).ConfigureAwait(false);
        if (_grpcPort is { } grpc)
        {
            if (HostAddress.WhyNotBound(new IPEndPoint(address, grpc)) is { } problem)
            {
                throw new WorkerExitException(ExitCodes.Failure, $"--grpc-port {grpc}: cannot listen on {address}: {problem}");
            }

            Listen(address, grpc, HttpProtocols.Http2);
            if (_takesRequests && !IPAddress.IsLoopback(address))
            {
                LogOpenRequests(_logger, new IPEndPoint(address, grpc), _hasToken ? "" : " and control the engine");
            }
        }

        foreach (var port in _furtherPorts)
        {
            // One that cannot be had must not cost the others.
            if (HostAddress.WhyNotBound(new IPEndPoint(address, port)) is { } problem)
            {
                LogCannotListen(_logger, _options.Host, port, problem);
                continue;
            }

            Listen(address, port, HttpProtocols.Http1);
        }

        if (_options.IsEnabled)
        {
            Listen(address, _options.Port, HttpProtocols.Http1);
        }

        return true;
    }

    private void Listen(IPAddress address, int port, HttpProtocols protocols) =>
        _kestrelOptions.Listen(
            address,
            port,
            listener =>
            {
                listener.Protocols = protocols;
                if (_identity is { } identity)
                {
                    var protocol = protocols == HttpProtocols.Http2 ? SslApplicationProtocol.Http2 : SslApplicationProtocol.Http11;
                    listener.UseHttps(
                        new TlsHandshakeCallbackOptions { OnConnection = _ => ValueTask.FromResult(identity.Accepting(protocol)) }
                    );
                }
            }
        );

    /// <summary>The last address is the status port's: it was the last that Kestrel was told.</summary>
    private IPEndPoint? BoundAddress()
    {
        var url = Features.Get<IServerAddressesFeature>()?.Addresses.LastOrDefault();
        return
            url is not null
            && Uri.TryCreate(url, UriKind.Absolute, out var uri)
            && IPAddress.TryParse(uri.Host.Trim('[', ']'), out var address)
            ? new IPEndPoint(address, uri.Port)
            : null;
    }

    /// <summary>
    /// One probe of our own: the libraries of the whole path are loaded from files, and once the process has no descriptor left, what could
    /// not be loaded is missing for good, and the listener with it.
    /// </summary>
    private async Task WarmUpAsync(CancellationToken cancellationToken)
    {
        if (Address is not { } bound)
        {
            return;
        }

        var loopback = bound.AddressFamily == AddressFamily.InterNetwork ? IPAddress.Loopback : IPAddress.IPv6Loopback;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(WarmUpLimit);
        try
        {
            using var socket = new Socket(bound.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            var target = new IPEndPoint(NetworkAddresses.IsWildcard(bound.Address) ? loopback : bound.Address, bound.Port);
            await socket.ConnectAsync(target, limit.Token).ConfigureAwait(false);
            var probe = Encoding.ASCII.GetBytes($"GET {_options.LivePath} HTTP/1.1\r\nHost: self\r\nConnection: close\r\n\r\n");
            Stream plain = new NetworkStream(socket);
            var stream = _identity is null ? plain : await ServerIdentity.OpenToSelfAsync(plain, limit.Token).ConfigureAwait(false);
            await using var opened = stream.ConfigureAwait(false);
            await stream.WriteAsync(probe, limit.Token).ConfigureAwait(false);
            var answer = new byte[4096];
            while (await stream.ReadAsync(answer, limit.Token).ConfigureAwait(false) > 0)
            {
                // To its end; what it says is for others.
            }
        }
        catch (Exception exception)
            when (exception is SocketException or IOException or AuthenticationException or OperationCanceledException
                && !cancellationToken.IsCancellationRequested
            )
        {
            LogNotWarm(_logger, bound, exception.Message);
        }
    }

    [LoggerMessage(EventId = 3201, Level = LogLevel.Information, Message = "System status server listens on {Address}")]
    private static partial void LogListening(ILogger logger, IPEndPoint? address);

    [LoggerMessage(
        EventId = 3202,
        Level = LogLevel.Error,
        Message = "System status server cannot listen on {Host}:{Port}: {Problem}. Probes will fail; set DYN_SYSTEM_PORT to a free port"
    )]
    private static partial void LogCannotListen(ILogger logger, string host, int port, string problem);

    [LoggerMessage(
        EventId = 3206,
        Level = LogLevel.Warning,
        Message = "Whoever reaches {Address} can call what controls the engine (/engine/..., /v1/loras): guard it with "
            + "--system-token-file, by the network, or by DYN_SYSTEM_HOST=127.0.0.1 (SECURITY.md)"
    )]
    private static partial void LogOpen(ILogger logger, IPEndPoint address);

    [LoggerMessage(
        EventId = 3208,
        Level = LogLevel.Warning,
        Message = "Whoever reaches {Address} can use the model{AndControl} (--grpc-requests): guard it by the network, or by "
            + "DYN_SYSTEM_HOST=127.0.0.1 (SECURITY.md)"
    )]
    private static partial void LogOpenRequests(ILogger logger, IPEndPoint address, string andControl);

    [LoggerMessage(
        EventId = 3205,
        Level = LogLevel.Warning,
        Message = "System status server did not answer its own first probe on {Address}: {Problem}"
    )]
    private static partial void LogNotWarm(ILogger logger, IPEndPoint address, string problem);
}
