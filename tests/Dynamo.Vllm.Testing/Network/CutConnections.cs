using System.Net.Sockets;
using Dynamo.Vllm.Transports.Tcp;

namespace Dynamo.Vllm.Testing.Network;

/// <summary>Plain connections of which some that we open end after some
/// bytes: both ends see the end, nobody sees an error before it.</summary>
public sealed class CutConnections : IConnectionSecurity
{
    private int _left;

    /// <summary>Bytes that still arrive on one that is cut.</summary>
    public int CutAt { get; set; }

    /// <summary>Connections opened so far.</summary>
    public int Opened { get; private set; }

    /// <summary>The next so many are cut.</summary>
    public void CutNext(int count) => _left = count;

    public ValueTask<Stream> SecureAcceptedAsync(Socket socket, CancellationToken cancellationToken) =>
        ValueTask.FromResult<Stream>(new NetworkStream(socket, ownsSocket: true));

    public ValueTask<Stream> SecureDialledAsync(Socket socket, string host, CancellationToken cancellationToken)
    {
        Opened++;
        return ValueTask.FromResult<Stream>(_left-- > 0 ? new CutStream(socket, CutAt) : new NetworkStream(socket, ownsSocket: true));
    }

    private sealed class CutStream(Socket socket, int left) : NetworkStream(socket, ownsSocket: true)
    {
        private int _left = left;

        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            var part = buffer[..Math.Min(_left, buffer.Length)];
            _left -= part.Length;
            await base.WriteAsync(part, cancellationToken);
            if (part.Length < buffer.Length)
            {
                Socket.Shutdown(SocketShutdown.Both);
            }
        }
    }
}
