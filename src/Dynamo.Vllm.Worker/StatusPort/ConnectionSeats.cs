using Dynamo.Vllm.Transports;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>Gives each connection a place of <see cref="ConnectionCap"/>, which is in use while a request is.</summary>
internal static class ConnectionSeats
{
    /// <summary>Under which a connection's items hold its place.</summary>
    private static readonly object SeatKey = new();

    public static void Admit(ConnectionContext connection, ConnectionCap connections)
    {
        var seat = connections.Admit(connection.Abort);
        connection.Items[SeatKey] = seat;
        connection.ConnectionClosed.UnsafeRegister(static seat => ((ConnectionCap.Seat)seat!).Dispose(), seat);
    }

    public static async Task UseAsync(HttpContext context, RequestDelegate next)
    {
        var seat = context.Features.Get<IConnectionItemsFeature>()?.Items[SeatKey] as ConnectionCap.Seat;
        seat?.BeginUse(); // a control call may take minutes
        try
        {
            await next(context).ConfigureAwait(false);
        }
        finally
        {
            seat?.EndUse();
        }
    }
}
