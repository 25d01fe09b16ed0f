using System.Buffers;
using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Dynamo.Vllm.Protocol.Framing;

namespace Dynamo.Vllm.Transports.Client;

/// <summary>One connection of the TCP request plane. One request at a time is under way until its acknowledgement.</summary>
internal sealed class TcpRequestSender : IRequestSender
{
    private const int RefusalBytesMax = 64 * 1024;

    private readonly NetworkStream _stream;
    private readonly string _path;
    private readonly SemaphoreSlim _turn = new(1, 1);

    private TcpRequestSender(NetworkStream stream, string path)
    {
        _stream = stream;
        _path = path;
    }

    /// <summary>By which address the worker was reached.</summary>
    public IPAddress LocalAddress => ((IPEndPoint)_stream.Socket.LocalEndPoint!).Address;

    public static async Task<TcpRequestSender> ConnectAsync(string address, CancellationToken cancellationToken)
    {
        var slash = address.IndexOf('/', StringComparison.Ordinal);
        var endpoint = IPEndPoint.Parse(address[..slash]);
        var socket = new Socket(endpoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(endpoint, cancellationToken).ConfigureAwait(false);
            return new TcpRequestSender(new NetworkStream(socket, ownsSocket: true), address[(slash + 1)..]);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    public async Task<string> SendAsync(string requestId, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken)
    {
        var headers = JsonSerializer.SerializeToUtf8Bytes(
            new Dictionary<string, string> { ["request-id"] = requestId },
            ClientJsonContext.Default.DictionaryStringString
        );
        var frame = new ArrayBufferWriter<byte>();
        RequestFrame.Write(frame, _path, headers, payload.Span);
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await _stream.WriteAsync(frame.WrittenMemory, cancellationToken).ConfigureAwait(false);
            return await ReadAckAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            // Acknowledgements come in order: after one that was not read, the next would be taken for it.
            await _stream.DisposeAsync().ConfigureAwait(false);
            if (exception is IOException or SocketException or ObjectDisposedException)
            {
                throw new WorkerCallException($"the request connection ended before the acknowledgement: {exception.Message}");
            }

            throw;
        }
        finally
        {
            _turn.Release();
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stream.DisposeAsync().ConfigureAwait(false);
        _turn.Dispose();
    }

    private async Task<string> ReadAckAsync(CancellationToken cancellationToken)
    {
        var length = new byte[4];
        await _stream.ReadExactlyAsync(length, cancellationToken).ConfigureAwait(false);
        var text = new byte[Math.Min(BinaryPrimitives.ReadUInt32BigEndian(length), RefusalBytesMax)];
        await _stream.ReadExactlyAsync(text, cancellationToken).ConfigureAwait(false);
        return Encoding.UTF8.GetString(text);
    }
}
