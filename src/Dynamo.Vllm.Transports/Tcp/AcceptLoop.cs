using System.Net.Sockets;

namespace Dynamo.Vllm.Transports.Tcp;

/// <summary>Accepts connections for as long as a listener lives.</summary>
internal static class AcceptLoop
{
    /// <summary>Out of descriptors, or the peer gave up: the listener lives on. The pause keeps a permanent fault from spinning.</summary>
    private static readonly TimeSpan FaultPause = TimeSpan.FromMilliseconds(100);

    /// <param name="listener">Listening.</param>
    /// <param name="accepted">Takes each connection and must not block; a
    /// <see cref="SocketException"/> of it counts as a failed accept.</param>
    /// <param name="failed">Told the problem of each failed accept.</param>
    /// <param name="time">For the pause.</param>
    /// <param name="cancellationToken">Ends the loop, as closing the listener does.</param>
    public static async Task RunAsync(
        Socket listener,
        Action<Socket> accepted,
        Action<string> failed,
        TimeProvider time,
        CancellationToken cancellationToken
    )
    {
        while (!cancellationToken.IsCancellationRequested)
        {
            try
            {
                accepted(await listener.AcceptAsync(cancellationToken).ConfigureAwait(false));
            }
            catch (Exception exception) when (exception is OperationCanceledException or ObjectDisposedException)
            {
                return; // normal stop
            }
            catch (SocketException exception)
            {
                failed(exception.Message);
                await Task.Delay(FaultPause, time, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }
}
