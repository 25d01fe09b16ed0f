using System.Text;
using Dynamo.Vllm.Transports.Nats;
using NATS.Client.Core;

namespace Dynamo.Vllm.Transports.Client;

/// <summary>The subject of one endpoint of the NATS request plane. Connects again by itself when the server was away.</summary>
internal sealed class NatsRequestSender : IRequestSender
{
    /// <summary>As long as frontends wait on the TCP plane.</summary>
    private static readonly TimeSpan AckTimeLimit = TimeSpan.FromSeconds(5);

    private readonly NatsConnection _connection;
    private readonly string _subject;

    private NatsRequestSender(NatsConnection connection, string subject)
    {
        _connection = connection;
        _subject = subject;
    }

    public static async Task<NatsRequestSender> ConnectAsync(string server, string subject, CancellationToken cancellationToken)
    {
        var connection = new NatsConnection(
            new NatsOpts
            {
                Url = server,
                AuthOpts = new NatsAuthOpts { Username = NatsLogin.Default.Value, Password = NatsLogin.Default.Password },
                ReconnectWaitMin = TimeSpan.FromMilliseconds(100),
                ReconnectWaitMax = TimeSpan.FromMilliseconds(500),
                MaxReconnectRetry = -1,
            }
        );
        try
        {
            await connection.ConnectAsync().AsTask().WaitAsync(cancellationToken).ConfigureAwait(false);
            return new NatsRequestSender(connection, subject);
        }
        catch
        {
            await connection.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    public async Task<string> SendAsync(string requestId, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken)
    {
        try
        {
            var answer = await _connection
                .RequestAsync<ReadOnlyMemory<byte>, byte[]>(
                    _subject,
                    payload,
                    new NatsHeaders { ["request-id"] = requestId },
                    replyOpts: new NatsSubOpts { Timeout = AckTimeLimit, ThrowIfNoResponders = true },
                    cancellationToken: cancellationToken
                )
                .ConfigureAwait(false);
            return Encoding.UTF8.GetString(answer.Data ?? []);
        }
        catch (Exception exception) when (exception is NatsException or ObjectDisposedException)
        {
            throw new WorkerCallException($"no acknowledgement from {_subject}: {exception.Message}");
        }
    }

    public ValueTask DisposeAsync() => _connection.DisposeAsync();
}
