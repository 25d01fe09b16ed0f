using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Requests;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Tcp;

/// <summary>Opens the connection on which a request is answered (request-plane.md, 2).</summary>
public sealed partial class TcpCallHomeDialer : ICallHomeDialer
{
    /// <summary>The caller listens before it sends the request, so a connection that takes longer will not come.</summary>
    private static readonly TimeSpan ConnectTimeLimit = TimeSpan.FromSeconds(10);

    private static readonly TimeSpan RetryWaitFirst = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan RetryWaitMax = TimeSpan.FromSeconds(1);

    /// <summary>The engine works meanwhile, perhaps for nobody.</summary>
    private static readonly TimeSpan RedialTimeLimit = TimeSpan.FromSeconds(2);

    private readonly IConnectionSecurity _security;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;

    public TcpCallHomeDialer(IConnectionSecurity security, TimeProvider time, ILogger<TcpCallHomeDialer> logger)
    {
        _security = security;
        _time = time;
        _logger = logger;
    }

    public async Task<ICallHome> DialAsync(RequestEnvelope envelope, CancellationToken cancellationToken)
    {
        var endpoint = ParseAddress(envelope.ResponseAddress);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(ConnectTimeLimit);
        for (var wait = RetryWaitFirst; ; wait *= 2)
        {
            try
            {
                var stream = await ConnectAsync(endpoint, limit.Token).ConfigureAwait(false);
                return new TcpCallHome(new CallHomeConnection(stream, closing => RedialAsync(envelope, closing)), envelope, _time);
            }
            catch (Exception exception) when (exception is SocketException or IOException && wait < RetryWaitMax)
            {
                // The caller waits for ever for a connection that never comes, so
                // a burst that ran out of ports or backlog is worth a few tries.
                await Task.Delay(wait, _time, limit.Token).ConfigureAwait(false);
            }
        }
    }

    /// <summary>For an answer whose connection broke early: one try, null if the caller cannot be reached.</summary>
    private async Task<Stream?> RedialAsync(RequestEnvelope envelope, CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(RedialTimeLimit);
        try
        {
            var stream = await ConnectAsync(ParseAddress(envelope.ResponseAddress), limit.Token).ConfigureAwait(false);
            LogRedialled(_logger, envelope.Id, envelope.ResponseAddress);
            return stream;
        }
        catch (Exception exception)
            when (exception is SocketException or IOException or AuthenticationException or OperationCanceledException)
        {
            return null; // the caller is gone, and the request ends as cancelled by it
        }
    }

    [LoggerMessage(
        EventId = 3005,
        Level = LogLevel.Information,
        Message = "Request {RequestId}: the connection to the caller broke early, opened another to {Address}"
    )]
    private static partial void LogRedialled(ILogger logger, string requestId, string address);

    private async Task<Stream> ConnectAsync(IPEndPoint endpoint, CancellationToken cancellationToken)
    {
        var socket = new Socket(endpoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(endpoint, cancellationToken).ConfigureAwait(false);
            return await _security.SecureDialledAsync(socket, endpoint.Address.ToString(), cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private static IPEndPoint ParseAddress(string address) =>
        RequestEnvelope.TryParseAddress(address, out var endpoint)
            ? endpoint
            : throw new FormatException($"response address '{address}' is not ip:port");
}
