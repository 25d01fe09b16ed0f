using System.Text;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.Testing.Network;
using Dynamo.Vllm.Testing.Servers;
using Dynamo.Vllm.Transports.Nats;
using NATS.Client.Core;

namespace Dynamo.Vllm.IntegrationTests.Nats;

/// <summary>The NATS request plane when the network between worker and
/// server misbehaves. The caller reaches the server undisturbed.</summary>
public sealed class NatsFaultTests : IAsyncLifetime
{
    private const int Disconnected = 3503;
    private const int Reconnected = 3504;

    private static readonly TimeSpan Soon = TimeSpan.FromSeconds(30);
    private static readonly EndpointId Generate = new("p1ns", "backend", "generate");
    private static readonly InstanceId Instance = new(0x12c8a2035590d12c);

    private readonly LogCapture _log = new();
    private readonly CallHomeListener _home = new();
    private NatsServer _server = null!;
    private FaultProxy _proxy = null!;
    private NatsConnection _caller = null!;

    public async Task InitializeAsync()
    {
        if (ServerPrograms.SkipReason(ServerPrograms.Nats) is not null)
        {
            return; // every test of the class is skipped
        }

        _server = await NatsServer.StartAsync();
        _proxy = FaultProxy.Start(_server.Port);
        _caller = new NatsConnection(new NatsOpts { Url = _server.Url });
        await _caller.ConnectAsync();
    }

    public async Task DisposeAsync()
    {
        _home.Dispose();
        if (_server is not null)
        {
            await _caller.DisposeAsync();
            await _proxy.DisposeAsync();
            await _server.DisposeAsync();
        }
    }

    [ServerTheory(ServerPrograms.Nats)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_first_connection_that_is_cut_or_falsified_anywhere_is_tried_again(bool isFlip)
    {
        // The greeting of the server is some 300 bytes; behind it come its PONG and what the subscriptions ask for.
        foreach (var position in new[] { 0, 1, 4, 5, 40, 120, 250, 300, 330 })
        {
            _proxy.ToClient = isFlip
                ? new FaultPlan { FlipAt = position, IsForOne = true }
                : new FaultPlan { CutAt = position, IsForOne = true };
            await using var link = CreateLink();
            await link.ConnectAsync(default).WaitAsync(Soon);
            await AssertServesAsync(link);
        }
    }

    [ServerFact(ServerPrograms.Nats)]
    public async Task A_server_that_falls_silent_is_noticed_and_found_again()
    {
        await using var link = CreateLink();
        await link.ConnectAsync(default);
        await AssertServesAsync(link);
        var lost = _log.Next(Disconnected, Soon);
        _proxy.Freeze(); // sockets stay open, as with a host that lost its power
        await lost;
        Assert.False(link.IsConnected);
        var back = _log.Next(Reconnected, Soon);
        _proxy.Thaw();
        await back;
        await AssertServesAsync(link);
    }

    [ServerFact(ServerPrograms.Nats)]
    public async Task A_server_that_closes_its_half_is_connected_to_again()
    {
        _proxy.ToClient = new FaultPlan { HalfCloseAt = 2000, IsForOne = true };
        await using var link = CreateLink();
        await link.ConnectAsync(default);
        await using var plane = await ServeAsync(link);
        var back = _log.Next(Reconnected, Soon);
        while (!back.IsCompleted)
        {
            await TryAskAsync(); // traffic, until the two thousand bytes are through
        }

        await back;
        await AskUntilAnsweredAsync();
    }

    private NatsLink CreateLink() =>
        new(
            new NatsOptions
            {
                Server = $"nats://127.0.0.1:{_proxy.Port}",
                ConnectTimeLimit = TimeSpan.FromSeconds(1),
                PingInterval = TimeSpan.FromMilliseconds(500),
                ReconnectWaitMax = TimeSpan.FromMilliseconds(300),
            },
            TimeProvider.System,
            _log.For<NatsLink>()
        );

    private async Task<NatsRequestPlane> ServeAsync(NatsLink link)
    {
        var plane = new NatsRequestPlane(link, Dispatchers.Create(_log), TimeProvider.System, _log.For<NatsRequestPlane>());
        await plane.StartAsync(default);
        await plane.BindAsync(ServedEndpoints.Create(Generate), Instance, default);
        return plane;
    }

    private async Task AssertServesAsync(NatsLink link)
    {
        await using var plane = await ServeAsync(link);
        await AskUntilAnsweredAsync();
    }

    private async Task AskUntilAnsweredAsync() => await Polling.UntilAsync("no answer", Soon, TryAskAsync, () => _log.Text);

    /// <summary>One request to its end; false if nobody takes it.</summary>
    private async Task<bool> TryAskAsync()
    {
        using var limit = new CancellationTokenSource(Soon);
        var reading = _home.ReadAsync(cancellationToken: limit.Token);
        try
        {
            var answer = await _caller.RequestAsync<byte[], byte[]>(
                $"p1ns_backend.generate-{Instance.Hex}",
                _home.Request("fault"),
                replyOpts: new NatsSubOpts { Timeout = TimeSpan.FromSeconds(1), ThrowIfNoResponders = true },
                cancellationToken: limit.Token
            );
            Assert.Equal("", Encoding.UTF8.GetString(answer.Data ?? []));
            Assert.Equal("\"sentinel\"", (await reading)[^1]);
            return true;
        }
        catch (NatsException)
        {
            await limit.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => reading);
            return false;
        }
    }
}
