using System.Net;
using System.Net.Sockets;

namespace Dynamo.Vllm.Testing.Network;

/// <summary>A TCP proxy on loopback that delays, splits, cuts, half-closes, freezes or flips what passes.</summary>
/// <remarks>Plans apply to connections opened after they were set; <see cref="Freeze"/> and <see cref="CutAll"/> to those that are open,
/// too.</remarks>
public sealed class FaultProxy : IAsyncDisposable
{
    private readonly Socket _listener;
    private readonly IPEndPoint _target;
    private readonly CancellationTokenSource _stopping = new();
    private readonly Lock _lock = new();
    private readonly HashSet<Socket> _open = [];
    private readonly Task _accepting;
    private TaskCompletionSource _moving = NewGate(isOpen: true);
    private int _connections;

    private FaultProxy(IPEndPoint target)
    {
        _target = target;
        _listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        _listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        _listener.Listen(64);
        _accepting = AcceptAsync();
    }

    public int Port => ((IPEndPoint)_listener.LocalEndPoint!).Port;

    public FaultPlan ToTarget { get; set; } = FaultPlan.None;

    public FaultPlan ToClient { get; set; } = FaultPlan.None;

    /// <summary>Connections so far.</summary>
    public int Connections => Volatile.Read(ref _connections);

    public static FaultProxy Start(int targetPort) => new(new IPEndPoint(IPAddress.Loopback, targetPort));

    /// <summary>Nothing moves until <see cref="Thaw"/>; connections are still accepted, as a stopped process does.</summary>
    public void Freeze() => Volatile.Write(ref _moving, NewGate(isOpen: false));

    public void Thaw() => Volatile.Read(ref _moving).TrySetResult();

    /// <summary>Resets every open connection.</summary>
    public void CutAll()
    {
        Socket[] open;
        lock (_lock)
        {
            open = [.. _open];
        }

        foreach (var socket in open)
        {
            Reset(socket);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync();
        Thaw();
        _listener.Dispose();
        CutAll();
        await _accepting.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private static TaskCompletionSource NewGate(bool isOpen)
    {
        var gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        if (isOpen)
        {
            gate.SetResult();
        }

        return gate;
    }

    private static void Reset(Socket socket)
    {
        try
        {
            socket.LingerState = new LingerOption(true, 0); // a reset instead of an end
            socket.Dispose();
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // Closed already.
        }
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                _ = ServeAsync(await _listener.AcceptAsync(_stopping.Token));
            }
        }
        catch (Exception exception) when (exception is OperationCanceledException or ObjectDisposedException or SocketException)
        {
            // Stopped.
        }
    }

    private async Task ServeAsync(Socket client)
    {
        Interlocked.Increment(ref _connections);
        var target = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        client.NoDelay = true;
        lock (_lock)
        {
            _open.Add(client);
            _open.Add(target);
        }

        var (toTarget, toClient) = (ToTarget, ToClient);
        ToTarget = toTarget.IsForOne ? FaultPlan.None : toTarget;
        ToClient = toClient.IsForOne ? FaultPlan.None : toClient;
        try
        {
            await target.ConnectAsync(_target, _stopping.Token);
            await Task.WhenAll(PumpAsync(client, target, toTarget), PumpAsync(target, client, toClient));
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException or OperationCanceledException)
        {
            // Either end is gone; so is the other.
        }
        finally
        {
            Reset(client);
            Reset(target);
            lock (_lock)
            {
                _open.Remove(client);
                _open.Remove(target);
            }
        }
    }

    private async Task PumpAsync(Socket from, Socket to, FaultPlan plan)
    {
        var buffer = new byte[plan.PieceBytesMax];
        for (var position = 0L; ; )
        {
            if (position == plan.CutAt)
            {
                Reset(from);
                Reset(to);
                return;
            }

            if (position == plan.HalfCloseAt)
            {
                to.Shutdown(SocketShutdown.Send);
                return;
            }

            if (position == plan.FreezeAt)
            {
                await Task.Delay(Timeout.Infinite, _stopping.Token);
            }

            var count = await from.ReceiveAsync(buffer.AsMemory(0, plan.Allowance(position)), _stopping.Token);
            await Volatile.Read(ref _moving).Task;
            if (count == 0)
            {
                to.Shutdown(SocketShutdown.Send);
                return;
            }

            if (plan.FlipAt is { } flip && flip >= position && flip < position + count)
            {
                buffer[flip - position] ^= 0xff;
            }

            await Task.Delay(plan.Delay, _stopping.Token);
            for (var sent = 0; sent < count; )
            {
                sent += await to.SendAsync(buffer.AsMemory(sent, count - sent), _stopping.Token);
            }

            position += count;
        }
    }
}
