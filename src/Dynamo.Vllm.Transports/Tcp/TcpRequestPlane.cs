using System.Net;
using System.Net.Sockets;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Tcp;

/// <summary>One listener for all endpoints of this process (request-plane.md, 1).</summary>
public sealed partial class TcpRequestPlane : IRequestPlane
{
    private readonly TcpPlaneOptions _options;
    private readonly RequestDispatcher _dispatcher;
    private readonly IConnectionSecurity _security;
    private readonly ILogger<TcpRequestPlane> _logger;
    private readonly CancellationTokenSource _stopping = new();
    private readonly Lock _lock = new();
    private readonly HashSet<TcpRequestConnection> _connections = [];
    private readonly HashSet<(ServedEndpoint Endpoint, string Path)> _bound = [];
    private Socket? _listener;
    private Task _accepting = Task.CompletedTask;

    public TcpRequestPlane(
        TcpPlaneOptions options,
        RequestDispatcher dispatcher,
        IConnectionSecurity security,
        ILogger<TcpRequestPlane> logger
    )
    {
        _options = options;
        _dispatcher = dispatcher;
        _security = security;
        _logger = logger;
    }

    /// <summary><c>ip:port</c> as callers are told; IPv6 in brackets.</summary>
    public string Address { get; private set; } = "";

    public Task StartAsync(CancellationToken cancellationToken)
    {
        var listener = new Socket(_options.BindAddress.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            listener.Bind(new IPEndPoint(_options.BindAddress, _options.Port));
            listener.Listen(_options.Backlog);
        }
        catch (SocketException exception)
        {
            listener.Dispose();
            throw new InvalidOperationException(
                $"TCP request plane cannot listen on {_options.BindAddress}:{_options.Port} ({exception.Message}); set "
                    + $"DYN_TCP_RPC_HOST and DYN_TCP_RPC_PORT",
                exception
            );
        }

        _listener = listener;
        Address = new IPEndPoint(_options.AdvertisedAddress, ((IPEndPoint)listener.LocalEndPoint!).Port).ToString();
        LogListening(_logger, Address);
        _accepting = Task.Run(
            () => AcceptLoop.RunAsync(listener, Accept, problem => LogAcceptFailed(_logger, problem), TimeProvider.System, _stopping.Token),
            cancellationToken
        );
        return Task.CompletedTask;
    }

    public Task<TransportAddress> BindAsync(ServedEndpoint endpoint, InstanceId instance, CancellationToken cancellationToken)
    {
        var path = TransportAddress.TcpPath(instance, endpoint.Id);
        lock (_lock)
        {
            _bound.Add((endpoint, path));
        }

        _dispatcher.Add(path, endpoint);
        return Task.FromResult(TransportAddress.Tcp(Address, instance, endpoint.Id));
    }

    public Task UnbindAsync(ServedEndpoint endpoint, InstanceId instance)
    {
        // Paths of earlier identities, too: all of them lead to the endpoint that takes no more requests.
        string[] paths;
        lock (_lock)
        {
            paths = [.. _bound.Where(bound => bound.Endpoint == endpoint).Select(bound => bound.Path)];
            _bound.RemoveWhere(bound => bound.Endpoint == endpoint);
        }

        foreach (var path in paths)
        {
            _dispatcher.Remove(path);
        }

        return Task.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        _listener?.Dispose();
        await _accepting.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        TcpRequestConnection[] open;
        lock (_lock)
        {
            open = [.. _connections];
        }

        foreach (var connection in open)
        {
            connection.Abort();
        }
    }

    private void Accept(Socket socket)
    {
        socket.NoDelay = true;
        _ = ServeAsync(new TcpRequestConnection(socket, _security, _dispatcher, _options.FrameBytesMax, _logger));
    }

    private async Task ServeAsync(TcpRequestConnection connection)
    {
        lock (_lock)
        {
            _connections.Add(connection);
        }

        try
        {
            using var seat = _options.Connections.Admit(connection.Abort);
            await connection.RunAsync(seat, _stopping.Token).ConfigureAwait(false);
        }
        finally
        {
            lock (_lock)
            {
                _connections.Remove(connection);
            }
        }
    }

    [LoggerMessage(EventId = 3001, Level = LogLevel.Information, Message = "TCP request plane listens on {Address}")]
    private static partial void LogListening(ILogger logger, string address);

    [LoggerMessage(EventId = 3002, Level = LogLevel.Warning, Message = "Cannot accept a request connection: {Problem}")]
    private static partial void LogAcceptFailed(ILogger logger, string problem);
}
