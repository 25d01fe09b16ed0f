using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;

namespace Dynamo.Vllm.Testing;

/// <summary>Ports that are free now. Only for servers that cannot report the port they chose.</summary>
public static class FreePorts
{
    // A port is free until its server, which takes seconds to start, has bound it: none is given twice.
    private static readonly ConcurrentDictionary<int, bool> Given = new();

    public static int Next()
    {
        // The reference reads its system port as a signed 16-bit number, so only ports below 32768 will do.
        while (true)
        {
            var port = Random.Shared.Next(20_000, 32_000);
            try
            {
                using var listener = new TcpListener(IPAddress.Loopback, port);
                listener.Start();
                if (Given.TryAdd(port, true))
                {
                    return port;
                }
            }
            catch (SocketException)
            {
                // Taken: the next one.
            }
        }
    }
}
