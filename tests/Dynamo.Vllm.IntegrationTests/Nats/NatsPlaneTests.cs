using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.Testing.Network;
using Dynamo.Vllm.Testing.Servers;
using Dynamo.Vllm.Transports.Nats;
using Dynamo.Vllm.Transports.Tcp;
using Microsoft.Extensions.Time.Testing;
using NATS.Client.Core;

namespace Dynamo.Vllm.IntegrationTests.Nats;

/// <summary>The NATS request plane against a real server; the caller is a plain NATS client.</summary>
public sealed class NatsPlaneTests : IAsyncLifetime
{
    private const int Disconnected = 3503;
    private const int Reconnected = 3504;
    private const int LameDuck = 3505;

    private static readonly TimeSpan Soon = TimeSpan.FromSeconds(15);
    private static readonly EndpointId Generate = new("p1ns", "backend", "generate");
    private static readonly InstanceId Instance = new(0x12c8a2035590d12c);

    private readonly LogCapture _log = new();
    private readonly CallHomeListener _home = new();
    private NatsServer _server = null!;
    private NatsLink _link = null!;
    private NatsConnection _caller = null!;

    public async Task InitializeAsync()
    {
        _server = await NatsServer.StartAsync();
        _link = new NatsLink(new NatsOptions { Server = _server.Url }, TimeProvider.System, _log.For<NatsLink>());
        _caller = new NatsConnection(
            new NatsOpts
            {
                Url = _server.Url,
                ReconnectWaitMin = TimeSpan.FromMilliseconds(50),
                ReconnectWaitMax = TimeSpan.FromMilliseconds(100),
            }
        );
        await _caller.ConnectAsync();
    }

    public async Task DisposeAsync()
    {
        await _caller.DisposeAsync();
        await _link.DisposeAsync();
        await _server.DisposeAsync();
        _home.Dispose();
    }

    [ServerFact(ServerPrograms.Nats)]
    public async Task A_request_is_acknowledged_with_nothing_and_answered_over_tcp()
    {
        RequestContext? seen = null;
        await using var plane = CreatePlane();
        await plane.StartAsync(default);
        var address = await plane.BindAsync(ServedEndpoints.Create(Generate, context => seen = context), Instance, default);
        Assert.Equal(new TransportAddress("nats_tcp", "p1ns_backend.generate-12c8a2035590d12c"), address);

        var reading = _home.ReadAsync();
        var answer = await AskAsync(
            address.Value,
            "id-1",
            new NatsHeaders { ["request-id"] = "id-1", ["x-frontend-send-ts-ns"] = "1795352332144536132" }
        );
        Assert.Equal(0, answer.Length);
        var frames = await reading.WaitAsync(Soon);
        Assert.Equal(
            [
                "{\"error\":null}",
                "{\"data\":{\"data\":{\"token_ids\":[5]}},\"complete_final\":false}",
                "{\"complete_final\":true}",
                "\"sentinel\"",
            ],
            frames.Skip(1)
        );
        Assert.Equal("1795352332144536132", seen!.Headers["x-frontend-send-ts-ns"]);
        Assert.Equal("id-1", seen.Headers["request-id"]);
    }

    [ServerFact(ServerPrograms.Nats)]
    public async Task A_worker_at_capacity_says_so_in_its_acknowledgement()
    {
        await using var plane = CreatePlane(new AdmissionLimits(1, 0));
        await plane.StartAsync(default);
        using var release = new ManualResetEventSlim();
        var address = await plane.BindAsync(ServedEndpoints.Create(Generate, _ => release.Wait()), Instance, default);
        var reading = _home.ReadAsync();
        Assert.Equal("", await AskAsync(address.Value, "one"));
        Assert.Equal("Server overloaded: worker at capacity", await AskAsync(address.Value, "two"));
        release.Set();
        await reading.WaitAsync(Soon);
    }

    [ServerFact(ServerPrograms.Nats)]
    public async Task An_endpoint_that_is_unbound_has_no_responders_and_can_be_bound_again()
    {
        await using var plane = CreatePlane();
        await plane.StartAsync(default);
        var endpoint = ServedEndpoints.Create(Generate);
        var first = await plane.BindAsync(endpoint, Instance, default);
        var second = await plane.BindAsync(endpoint, new InstanceId(7), default); // after a lost lease both subjects lead here
        await plane.BindAsync(endpoint, Instance, default);
        await plane.UnbindAsync(endpoint, new InstanceId(7));
        await Assert.ThrowsAsync<NatsNoRespondersException>(() => AskAsync(first.Value, "x"));
        await Assert.ThrowsAsync<NatsNoRespondersException>(() => AskAsync(second.Value, "x"));
        await plane.BindAsync(endpoint, Instance, default);
        var reading = _home.ReadAsync();
        Assert.Equal("", await AskAsync(first.Value, "y"));
        await reading.WaitAsync(Soon);
    }

    [ServerFact(ServerPrograms.Nats)]
    public async Task A_restarted_server_finds_the_worker_subscribed_again_within_five_seconds()
    {
        await using var plane = CreatePlane();
        await plane.StartAsync(default);
        var address = await plane.BindAsync(ServedEndpoints.Create(Generate), Instance, default);
        var failures = 0;
        var waitsLongest = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _link.Connection.ReconnectFailed += (_, _) =>
        {
            if (Interlocked.Increment(ref failures) == 4)
            {
                waitsLongest.TrySetResult(); // 0.25, 0.5, 1, 2 s: from here on the wait between two tries is at its limit
            }

            return default;
        };
        var lost = _log.Next(Disconnected, Soon);
        await _server.Process.KillAsync();
        await lost;
        await waitsLongest.Task.WaitAsync(Soon);
        var back = _log.Next(Reconnected, Soon);
        await _server.StartAgainAsync();
        var started = TimeProvider.System.GetTimestamp();
        await back;
        var reading = _home.ReadAsync();
        Assert.Equal("", await AskUntilAnsweredAsync(address.Value));
        Assert.InRange(TimeProvider.System.GetElapsedTime(started), TimeSpan.Zero, TimeSpan.FromSeconds(5));
        await reading.WaitAsync(Soon);
    }

    [ServerFact(ServerPrograms.Nats)]
    public async Task A_server_that_has_been_away_for_long_keeps_callers_away_and_one_that_restarts_does_not()
    {
        var time = new FakeTimeProvider();
        await using var link = new NatsLink(new NatsOptions { Server = _server.Url }, time, _log.For<NatsLink>());
        await link.ConnectAsync(default);
        var lost = _log.Next(Disconnected, Soon);
        await _server.Process.KillAsync();
        await lost;
        time.Advance(TimeSpan.FromSeconds(9));
        Assert.Null(link.Hindrance);
        time.Advance(TimeSpan.FromSeconds(2));
        Assert.Contains("has been away for 11 s", link.Hindrance, StringComparison.Ordinal);
        var back = _log.Next(Reconnected, Soon);
        await _server.StartAgainAsync();
        await back;
        Assert.Null(link.Hindrance);
    }

    [ServerFact(ServerPrograms.Nats)]
    public async Task A_server_in_lame_duck_mode_is_announced_and_its_successor_is_used()
    {
        await using var plane = CreatePlane();
        await plane.StartAsync(default);
        var address = await plane.BindAsync(ServedEndpoints.Create(Generate), Instance, default);
        var announced = _log.Next(LameDuck, Soon);
        var lost = _log.Next(Disconnected, Soon);
        _server.EnterLameDuckMode();
        await announced;
        await lost;
        var back = _log.Next(Reconnected, Soon);
        await _server.Process.KillAsync();
        await _server.StartAgainAsync();
        await back;
        var reading = _home.ReadAsync();
        Assert.Equal("", await AskUntilAnsweredAsync(address.Value));
        await reading.WaitAsync(Soon);
    }

    [ServerTheory(ServerPrograms.Nats)]
    [InlineData("$SRV.PING")]
    [InlineData("$SRV.INFO.p1ns_backend")]
    [InlineData("$SRV.STATS")]
    public async Task Service_questions_are_answered_as_captured(string question)
    {
        await using var plane = CreatePlane();
        await plane.StartAsync(default);
        await plane.BindAsync(ServedEndpoints.Create(Generate with { Name = "worker_kv_query_source_c75dbc77dab84" }), Instance, default);
        var address = await plane.BindAsync(ServedEndpoints.Create(Generate), Instance, default);
        var reading = _home.ReadAsync();
        await AskAsync(address.Value, "counted");
        await reading.WaitAsync(Soon);

        var answer = await _caller.RequestAsync<string>(question, cancellationToken: default);
        var captured = Golden
            .Text("runtime/nats_micro_service.txt")
            .Split('\n')
            .Where(line =>
                line.StartsWith(question + " {", StringComparison.Ordinal)
                && line.Contains("jtuDaEGxoumCW5HAZtqLJx", StringComparison.Ordinal)
            )
            .Select(line => line[(line.IndexOf(' ', StringComparison.Ordinal) + 1)..])
            .First();
        Assert.Equal(Normalise(captured), Normalise(answer.Data!));
        var id = JsonNode.Parse(answer.Data!)!["id"]!.GetValue<string>();
        var byId = await _caller.RequestAsync<string>($"$SRV.PING.p1ns_backend.{id}", cancellationToken: default);
        Assert.Contains(id, byId.Data, StringComparison.Ordinal);
    }

    [ServerFact(ServerPrograms.Nats)]
    public async Task A_subject_that_the_user_may_not_subscribe_to_is_told_before_it_is_advertised()
    {
        await using var server = await NatsServer.StartAsync(
            "authorization { users: [ { user: user, password: user, permissions: { subscribe: \"_INBOX.>\" } } ] }"
        );
        await using var link = new NatsLink(new NatsOptions { Server = server.Url }, TimeProvider.System, _log.For<NatsLink>());
        await using var plane = CreatePlane(link: link);
        await plane.StartAsync(default);
        for (var i = 0; i < 50; i++)
        {
            // Again and again: the refusal must be seen before the answer to the ping, not usually so.
            var exception = await Assert.ThrowsAsync<IOException>(() =>
                plane.BindAsync(ServedEndpoints.Create(Generate), Instance, default)
            );
            const string refusal = "does not let this worker subscribe to p1ns_backend.generate-12c8a2035590d12c";
            Assert.Contains(refusal, exception.Message, StringComparison.Ordinal);
        }
    }

    [ServerFact(ServerPrograms.Nats)]
    public async Task Events_are_published_up_to_the_limit_of_the_server()
    {
        var publisher = new NatsEventPublisher(_link);
        await publisher.StartAsync(default);
        await using var subscription = await _caller.SubscribeCoreAsync<byte[]>("events.>");
        await _caller.PingAsync();
        await publisher.PublishAsync("events.one", new byte[] { 1, 2, 3 });
        Assert.Equal([1, 2, 3], (await subscription.Msgs.ReadAsync().AsTask().WaitAsync(Soon)).Data);
        await publisher.PublishAsync("events.two", new byte[publisher.PayloadBytesMax]);
        Assert.Equal(publisher.PayloadBytesMax, (await subscription.Msgs.ReadAsync().AsTask().WaitAsync(Soon)).Data!.Length);
        var exception = await Assert.ThrowsAsync<ProtocolException>(async () =>
            await publisher.PublishAsync("events.three", new byte[publisher.PayloadBytesMax + 1])
        );
        Assert.Contains("above the server's limit 1048576", exception.Message, StringComparison.Ordinal);
    }

    [ServerFact(ServerPrograms.Nats)]
    public async Task An_event_that_cannot_leave_in_time_fails_and_a_reconnect_is_announced()
    {
        await using var link = new NatsLink(
            new NatsOptions { Server = _server.Url, PublishTimeLimit = TimeSpan.FromMilliseconds(300) },
            TimeProvider.System,
            _log.For<NatsLink>()
        );
        var publisher = new NatsEventPublisher(link);
        await publisher.StartAsync(default);
        var reconnected = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        publisher.Reconnected += reconnected.SetResult;
        var lost = _log.Next(Disconnected, Soon);
        await _server.Process.KillAsync();
        await lost;
        await Assert.ThrowsAsync<IOException>(async () => await publisher.PublishAsync("events.lost", new byte[1]));
        await _server.StartAgainAsync();
        await reconnected.Task.WaitAsync(Soon);
        await publisher.PublishAsync("events.sent", new byte[1]);
    }

    private static string Normalise(string json)
    {
        var answer = JsonNode.Parse(json)!.AsObject();
        Assert.Equal(22, answer["id"]!.GetValue<string>().Length);
        answer["id"] = "id";
        if (answer["started"] is { } started)
        {
            Assert.Matches("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{9}Z$", started.GetValue<string>());
            answer["started"] = "started";
        }

        foreach (var endpoint in answer["endpoints"]?.AsArray() ?? [])
        {
            if (endpoint!["processing_time"] is not null)
            {
                Assert.Equal(endpoint["num_requests"]!.GetValue<long>() > 0, endpoint["processing_time"]!.GetValue<long>() > 0);
                endpoint["processing_time"] = 0;
                endpoint["average_processing_time"] = 0;
            }
        }

        return answer.ToJsonString(); // keeps the order of the fields
    }

    private NatsRequestPlane CreatePlane(AdmissionLimits? limits = null, NatsLink? link = null) =>
        new(link ?? _link, Dispatchers.Create(_log, limits: limits), TimeProvider.System, _log.For<NatsRequestPlane>());

    private async Task<string> AskAsync(string subject, string id, NatsHeaders? headers = null)
    {
        var answer = await _caller.RequestAsync<byte[], byte[]>(
            subject,
            _home.Request(id),
            headers,
            replyOpts: new NatsSubOpts { Timeout = Soon, ThrowIfNoResponders = true }
        );
        return Encoding.UTF8.GetString(answer.Data ?? []);
    }

    private async Task<string> AskUntilAnsweredAsync(string subject)
    {
        for (var tries = 0; ; tries++)
        {
            try
            {
                return await AskAsync(subject, $"again-{tries}");
            }
            catch (NatsException) when (tries < 50)
            {
                await Task.Delay(100); // the caller reconnects in its own time, too
            }
        }
    }
}
