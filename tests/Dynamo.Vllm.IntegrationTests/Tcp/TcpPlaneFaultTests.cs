using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.Testing.Network;
using Dynamo.Vllm.Testing.Servers;
using Dynamo.Vllm.Transports.Client;
using Dynamo.Vllm.Transports.Tcp;

namespace Dynamo.Vllm.IntegrationTests.Tcp;

/// <summary>The TCP plane, plain and with TLS, behind a proxy that misbehaves.</summary>
public sealed class TcpPlaneFaultTests : IAsyncLifetime
{
    private static readonly TimeSpan Soon = TimeSpan.FromSeconds(15);
    private static readonly EndpointId Generate = new("p1ns", "backend", "generate");
    private static readonly InstanceId Instance = new(0x4c7b147b073dc94b);

    private readonly LogCapture _log = new();
    private readonly Testing.Network.CallHomeListener _home = new();
    private readonly TestCertificates _certificates = new();
    private readonly List<TcpRequestPlane> _planes = [];

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        foreach (var plane in _planes)
        {
            await plane.DisposeAsync();
        }

        _home.Dispose();
        _certificates.Dispose();
    }

    [Fact]
    public async Task A_frame_split_at_every_byte_is_acknowledged_and_answered()
    {
        await using var proxy = FaultProxy.Start(await StartAsync(new PlainConnections()));
        proxy.ToTarget = new FaultPlan { PieceBytesMax = 1 };
        var reading = _home.ReadAsync();
        using var socket = await DialAsync(proxy.Port);
        await using var stream = new NetworkStream(socket);
        Assert.Equal("", await AskAsync(stream, Frame("split")));
        Assert.Equal("\"sentinel\"", (await reading.WaitAsync(Soon))[^1]);
    }

    [Fact]
    public async Task Connections_cut_anywhere_in_a_frame_do_no_harm_to_the_next_one()
    {
        await using var proxy = FaultProxy.Start(await StartAsync(new PlainConnections()));
        var frame = Frame("cut");
        foreach (var position in new[] { 0, 1, 2, 30, 41, 60, frame.Length - 1 })
        {
            proxy.ToTarget = new FaultPlan { CutAt = position };
            var cut = await Assert.ThrowsAnyAsync<Exception>(async () =>
            {
                using var socket = await DialAsync(proxy.Port); // cut at 0, the reset can come before the dial is over
                await using var stream = new NetworkStream(socket);
                await AskAsync(stream, frame);
            });
            Assert.True(cut is IOException or SocketException, cut.ToString());
        }

        proxy.ToTarget = FaultPlan.None;
        var reading = _home.ReadAsync();
        using var last = await DialAsync(proxy.Port);
        await using var good = new NetworkStream(last);
        Assert.Equal("", await AskAsync(good, Frame("whole")));
        await reading.WaitAsync(Soon);
    }

    [Fact]
    public async Task A_caller_that_closes_its_half_after_the_frame_still_gets_the_acknowledgement()
    {
        await using var proxy = FaultProxy.Start(await StartAsync(new PlainConnections()));
        var frame = Frame("half");
        proxy.ToTarget = new FaultPlan { HalfCloseAt = frame.Length };
        var reading = _home.ReadAsync();
        using var socket = await DialAsync(proxy.Port);
        await using var stream = new NetworkStream(socket);
        Assert.Equal("", await AskAsync(stream, frame));
        await reading.WaitAsync(Soon);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(23)] // within the lengths
    [InlineData(60)] // within the subject
    [InlineData(98)] // all but the last byte of the handshake
    public async Task An_answer_cut_within_its_handshake_comes_on_a_second_connection(int position)
    {
        var connections = new CutConnections { CutAt = position };
        connections.CutNext(1);
        using var socket = await DialAsync(await StartAsync(connections));
        await using var stream = new NetworkStream(socket);
        var first = _home.ReadToCutAsync();
        Assert.Equal("", await AskAsync(stream, Frame("again")));
        Assert.Equal(position, await first.WaitAsync(Soon));
        var frames = await _home.ReadAsync().WaitAsync(Soon);
        Assert.Contains("\"stream_type\":\"response\"", frames[0], StringComparison.Ordinal);
        Assert.Equal(["{\"error\":null}", "\"sentinel\""], [frames[1], frames[^1]]);
        Assert.Equal(2, connections.Opened);
    }

    /// <summary>A caller hears every item once and in order, or an error; it never waits for what does not come.</summary>
    /// <param name="isReset">Else the caller's side is closed properly, as by a proxy that gave up.</param>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task An_answer_cut_anywhere_is_whole_or_an_error(bool isReset)
    {
        const int Items = 20; // no more than is said again
        const int HandshakeBytes = 99;
        var handler = new CountingHandler(Items);
        var port = await StartAsync(new PlainConnections(), handler);
        FaultProxy? proxy = null;
        await using var client = await WorkerClient.ConnectAsync(
            $"127.0.0.1:{port}/{TransportAddress.TcpPath(Instance, Generate)}",
            PayloadCodec.MessagePack,
            default,
            answers => (proxy = FaultProxy.Start(answers)).Port
        );
        await using var closing = proxy!;
        foreach (var position in Enumerable.Range(0, 140).Concat(Enumerable.Range(0, 25).Select(i => 140 + (i * 83))))
        {
            proxy!.ToTarget = isReset
                ? new FaultPlan { CutAt = position, IsForOne = true }
                : new FaultPlan { HalfCloseAt = position, IsForOne = true };
            // After the last item a proper close is what the worker expects.
            handler.Gate = isReset || position >= HandshakeBytes ? Task.CompletedTask : SecondAsync(proxy);
            var (heard, isComplete) = await HearAsync(client);
            Assert.Equal(Enumerable.Range(0, heard.Count), heard);
            Assert.True(isComplete ? heard.Count == Items : position >= HandshakeBytes, $"cut at {position}: {heard.Count} items");
        }
    }

    [Fact]
    public async Task A_caller_that_turns_the_second_connection_away_has_left()
    {
        var connections = new CutConnections { CutAt = 60 };
        connections.CutNext(2);
        var left = _log.Next(2006, Soon);
        using var socket = await DialAsync(await StartAsync(connections, new WaitingHandler()));
        await using var stream = new NetworkStream(socket);
        Assert.Equal("", await AskAsync(stream, Frame("left")));
        Assert.Equal(60, await _home.ReadToCutAsync().WaitAsync(Soon));
        Assert.Equal(60, await _home.ReadToCutAsync().WaitAsync(Soon));
        await left; // cancelled, not dialled a third time
        Assert.Equal(2, connections.Opened);
    }

    [Fact]
    public async Task A_caller_that_said_kill_is_not_dialled_again()
    {
        var connections = new CutConnections();
        var left = _log.Next(2006, Soon);
        using var socket = await DialAsync(await StartAsync(connections, new WaitingHandler()));
        await using var stream = new NetworkStream(socket);
        var killing = _home.KillAsync();
        Assert.Equal("", await AskAsync(stream, Frame("killed")));
        await killing.WaitAsync(Soon);
        await left;
        Assert.Equal(1, connections.Opened);
    }

    [Fact]
    public async Task A_request_and_its_answer_travel_over_tls_in_both_directions()
    {
        var worker = _certificates.Issue("worker");
        var caller = _certificates.Issue("caller");
        var security = new TlsConnections(
            new TlsOptions
            {
                CertificatePath = worker.Certificate,
                KeyPath = worker.Key,
                ClientAuthorityPath = _certificates.Authority,
                AuthorityPath = _certificates.Authority,
                ClientCertificatePath = worker.Certificate,
                ClientKeyPath = worker.Key,
            },
            TimeProvider.System,
            _log.For<TlsConnections>()
        );
        var other = new TlsConnections(
            new TlsOptions
            {
                CertificatePath = caller.Certificate,
                KeyPath = caller.Key,
                ClientAuthorityPath = _certificates.Authority,
                AuthorityPath = _certificates.Authority,
                ClientCertificatePath = caller.Certificate,
                ClientKeyPath = caller.Key,
            },
            TimeProvider.System,
            _log.For<TlsConnections>()
        );
        var port = await StartAsync(security);
        var reading = _home.ReadAsync(async socket => await other.SecureAcceptedAsync(socket, default));
        using var socket = await DialAsync(port);
        await using var stream = await other.SecureDialledAsync(socket, "127.0.0.1", default);
        Assert.Equal("", await AskAsync(stream, Frame("secret")));
        Assert.Equal("\"sentinel\"", (await reading.WaitAsync(Soon))[^1]);
    }

    [Fact]
    public async Task Unbinding_closes_the_paths_of_earlier_identities_too()
    {
        var port = await StartAsync(new PlainConnections());
        var endpoint = ServedEndpoints.Create(Generate with { Name = "other" });
        await _planes[0].BindAsync(endpoint, new InstanceId(1), default);
        await _planes[0].BindAsync(endpoint, new InstanceId(2), default);
        await _planes[0].UnbindAsync(endpoint, new InstanceId(2));
        using var socket = await DialAsync(port);
        await using var stream = new NetworkStream(socket);
        Assert.Equal(
            "Server unavailable: unknown endpoint 1/p1ns/backend/other",
            await AskAsync(stream, Frame("x", "1/p1ns/backend/other"))
        );
    }

    private static async Task<Socket> DialAsync(int port)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(IPAddress.Loopback, port);
        return socket;
    }

    private static Task SecondAsync(FaultProxy proxy)
    {
        var before = proxy.Connections;
        return Polling.UntilAsync("no second connection", Soon, () => Task.FromResult(proxy.Connections >= before + 2));
    }

    /// <summary>The tokens that a caller hears, and whether it knows that these are all.</summary>
    private static async Task<(List<int> Tokens, bool IsComplete)> HearAsync(WorkerClient client)
    {
        using var limit = new CancellationTokenSource(Soon);
        var heard = new List<int>();
        await using var call = await client.CallAsync("{}"u8.ToArray(), limit.Token);
        try
        {
            await foreach (var item in call.ReadAsync(limit.Token))
            {
                heard.Add(item["data"]!["token_ids"]![0]!.GetValue<int>());
            }
        }
        catch (WorkerCallException)
        {
            // It knows that it has not got all.
        }

        return (heard, call.IsComplete);
    }

    private static async Task<string> AskAsync(Stream stream, byte[] frame)
    {
        using var limit = new CancellationTokenSource(Soon);
        await stream.WriteAsync(frame, limit.Token);
        var length = new byte[4];
        await stream.ReadExactlyAsync(length, limit.Token);
        var text = new byte[BinaryPrimitives.ReadUInt32BigEndian(length)];
        await stream.ReadExactlyAsync(text, limit.Token);
        return Encoding.UTF8.GetString(text);
    }

    private byte[] Frame(string id, string? path = null)
    {
        var pathBytes = Encoding.UTF8.GetBytes(path ?? TransportAddress.TcpPath(Instance, Generate));
        var headers = "{\"request-id\":\"x\"}"u8.ToArray();
        var payload = _home.Request(id);
        using var frame = new MemoryStream();
        void Number(uint value, int bytes)
        {
            for (var shift = (bytes - 1) * 8; shift >= 0; shift -= 8)
            {
                frame.WriteByte((byte)(value >> shift));
            }
        }

        Number((uint)pathBytes.Length, 2);
        frame.Write(pathBytes);
        Number((uint)headers.Length, 2);
        frame.Write(headers);
        Number((uint)payload.Length, 4);
        frame.Write(payload);
        return frame.ToArray();
    }

    private async Task<int> StartAsync(IConnectionSecurity security, IEndpointHandler? handler = null)
    {
        var plane = new TcpRequestPlane(new TcpPlaneOptions(), Dispatchers.Create(_log, security), security, _log.For<TcpRequestPlane>());
        _planes.Add(plane);
        await plane.StartAsync(default);
        await plane.BindAsync(
            handler is null ? ServedEndpoints.Create(Generate) : ServedEndpoints.Create(Generate, handler),
            Instance,
            default
        );
        return IPEndPoint.Parse(plane.Address).Port;
    }

    /// <summary>Says nothing until the request is cancelled.</summary>
    private sealed class WaitingHandler : IEndpointHandler
    {
        public Task HandleAsync(RequestContext context, IResponseWriter responses) => Task.Delay(Timeout.Infinite, context.Cancelled);
    }

    /// <summary>Answers with numbered tokens.</summary>
    private sealed class CountingHandler(int count) : IEndpointHandler
    {
        /// <summary>What the first of them waits for.</summary>
        public Task Gate { get; set; } = Task.CompletedTask;

        public async Task HandleAsync(RequestContext context, IResponseWriter responses)
        {
            await Gate;
            for (var i = 0; i < count; i++)
            {
                await responses.WriteAsync(Encoding.UTF8.GetBytes($"{{\"token_ids\":[{i}]}}"));
            }
        }
    }
}
