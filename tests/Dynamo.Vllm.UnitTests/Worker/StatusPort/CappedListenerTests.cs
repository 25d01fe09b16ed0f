using System.Net;
using System.Net.Sockets;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Transports;
using Dynamo.Vllm.Worker.StatusPort;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace Dynamo.Vllm.UnitTests.Worker.StatusPort;

/// <summary>Connections that Kestrel has accepted and nobody has come to serve yet.</summary>
public sealed class CappedListenerTests
{
    private const int Max = 8;
    private const int Callers = 40;

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);

    [Fact]
    public async Task A_burst_holds_no_more_than_its_places_before_anything_is_served()
    {
        var cap = new ConnectionCap("test", Max, TimeProvider.System, NullLogger.Instance);
        var factory = new CappedListenerFactory(
            new SocketTransportFactory(Options.Create(new SocketTransportOptions()), NullLoggerFactory.Instance),
            cap
        );
        await using var listener = await factory.BindAsync(new IPEndPoint(IPAddress.Loopback, 0));
        var accepted = new List<ConnectionContext>();
        var callers = new List<Socket>();
        for (var i = 0; i < Callers; i++)
        {
            callers.Add(new Socket(SocketType.Stream, ProtocolType.Tcp));
            await callers[i].ConnectAsync(listener.EndPoint);
            accepted.Add((await listener.AcceptAsync())!);
        }

        Assert.Equal(Max, cap.Open);
        Assert.Equal(Callers - Max, cap.Closed);
        foreach (var turnedAway in callers[..(Callers - Max)])
        {
            await EndsAsync(turnedAway);
        }

        callers.ForEach(caller => caller.Dispose());
        await Polling.UntilAsync("places are still taken", Limit, () => Task.FromResult(cap.Open == 0));
        foreach (var connection in accepted)
        {
            await connection.DisposeAsync();
        }
    }

    private static async Task EndsAsync(Socket socket)
    {
        try
        {
            Assert.Equal(0, await socket.ReceiveAsync(new byte[1]).WaitAsync(Limit));
        }
        catch (SocketException reset)
        {
            Assert.Equal(SocketError.ConnectionReset, reset.SocketErrorCode);
        }
    }
}
