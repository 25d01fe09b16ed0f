using System.Net.Sockets;
using Dynamo.Vllm.Protocol;

namespace Dynamo.Vllm.Transports.Zmq;

/// <summary>Which exceptions are the doings of peers and networks.</summary>
internal static class ZmqFaults
{
    /// <summary>The connection is over; anything else is a fault of ours.</summary>
    public static bool EndsConnection(Exception exception) =>
        exception
            is IOException
                or SocketException
                or ProtocolException
                or NotSupportedException
                or ObjectDisposedException
                or OperationCanceledException;
}
