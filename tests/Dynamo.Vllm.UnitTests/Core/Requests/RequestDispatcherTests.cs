using System.Buffers;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Framing;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.UnitTests.Core.Requests;

public sealed class RequestDispatcherTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    private readonly CallHomeDialerFake _dialer = new();
    private readonly RuntimeMetrics _metrics = new(Prometheus.Metrics.NewCustomRegistry(), "1");
    private readonly WaitingHandler _handler = new();
    private readonly ServedEndpoint _endpoint;

    public RequestDispatcherTests()
    {
        var id = new EndpointId("n", "c", "generate");
        _endpoint = new ServedEndpoint(id, _handler, _metrics.ForEndpoint(id, "m"));
    }

    [Fact]
    public async Task What_waits_for_its_turn_when_the_worker_aborts_the_rest_is_answered_too()
    {
        var dispatcher = Create(new AdmissionLimits(Running: 1, Queued: 1));
        Assert.Null(Send(dispatcher, "first"));
        var first = await _dialer.NextAsync().AsTask().WaitAsync(Limit);
        await _handler.Entered.WaitAsync(Limit);
        Assert.Null(Send(dispatcher, "second"));
        Assert.NotNull(Send(dispatcher, "third")); // refused in its acknowledgement

        _endpoint.CancelAll(CancellationCause.Shutdown);
        var second = await _dialer.NextAsync().AsTask().WaitAsync(Limit);
        await Task.WhenAll(first.Ended, second.Ended).WaitAsync(Limit);
        Assert.Equal("second", second.RequestId);
        Assert.All([first, second], call => Assert.Equal("backend.engine_shutdown", call.Error?.Reason));
        await _endpoint.Ledger.WhenIdle().WaitAsync(Limit);
    }

    [Fact]
    public async Task The_memory_of_a_body_is_given_back_once_when_it_was_decoded_or_else_at_the_end()
    {
        var dispatcher = Create(new AdmissionLimits());
        var released = 0;
        var decoded = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _handler.Answer = async (context, _) =>
        {
            Assert.Equal("{}"u8.ToArray(), context.Body.ToArray());
            context.ReleaseBody();
            decoded.SetResult();
            await Task.Delay(Timeout.Infinite, context.Cancelled);
        };
        Assert.Null(Send(dispatcher, "decodes", () => released++));
        await decoded.Task.WaitAsync(Limit);
        Assert.Equal(1, released);

        _endpoint.CancelAll(CancellationCause.Shutdown);
        await _endpoint.Ledger.WhenIdle().WaitAsync(Limit);
        Assert.Equal(1, released);

        _handler.Answer = (_, _) => Task.CompletedTask;
        Assert.Null(Send(dispatcher, "does not look", () => released++));
        await _endpoint.Ledger.WhenIdle().WaitAsync(Limit);
        Assert.Equal(2, released);
    }

    [Fact]
    public async Task Every_way_a_request_can_end_is_in_the_books_and_they_balance()
    {
        var dispatcher = Create(new AdmissionLimits());
        async Task<CallHomeFake> SendAsync(string id)
        {
            Assert.Null(Send(dispatcher, id));
            return await _dialer.NextAsync().AsTask().WaitAsync(Limit);
        }

        _handler.Answer = (_, responses) => responses.WriteAsync("{}"u8.ToArray()).AsTask();
        await (await SendAsync("finished")).Ended.WaitAsync(Limit);
        _handler.Answer = (_, _) => throw new RequestFailedException(DynamoError.InvalidArgument("no"));
        await (await SendAsync("failed")).Ended.WaitAsync(Limit);
        _handler.Answer = (_, _) => throw new InvalidOperationException("a bug of the handler");
        await (await SendAsync("broken")).Ended.WaitAsync(Limit);
        _endpoint.TurnAway = DynamoError.WorkerUnavailable("silent");
        await (await SendAsync("turned away")).Ended.WaitAsync(Limit);
        _endpoint.TurnAway = null;
        _handler.Answer = (context, _) =>
        {
            context.Cancel(CancellationCause.Kill);
            return Task.CompletedTask;
        };
        await SendAsync("cancelled");
        await _endpoint.Ledger.WhenIdle().WaitAsync(Limit);
        _dialer.Failure = new IOException("nobody there");
        Assert.Null(Send(dispatcher, "unreachable"));
        await _endpoint.Ledger.WhenIdle().WaitAsync(Limit);

        var balance = _endpoint.Ledger.Read();
        Assert.True(balance.IsBalanced);
        Assert.Equal(
            new Dictionary<RequestEnd, long>
            {
                [RequestEnd.Finished] = 1,
                [new RequestEnd(RequestOutcome.Failed, "backend.invalid_argument")] = 1,
                [new RequestEnd(RequestOutcome.Failed, "backend.unknown")] = 1,
                [new RequestEnd(RequestOutcome.HandedBack, "backend.worker_unavailable")] = 1,
                [RequestEnd.Cancelled] = 1,
                [RequestEnd.Unanswered] = 1,
            },
            balance.Ended
        );
        Assert.Equal("6 accepted = 1 finished + 2 failed + 1 cancelled + 1 handed back + 1 unanswered + 0 open", balance.ToString());
    }

    [Theory]
    [InlineData("""{"id":5,"connection_info":CONNECTION}""", "id is of type Number, must be a string")]
    [InlineData("""{"connection_info":CONNECTION}""", "id is empty")]
    [InlineData("""{"id":"r","payload_codec":5,"connection_info":CONNECTION}""", "payload_codec is of type Number, must be a string")]
    [InlineData("""{"id":"r","request_type":[],"connection_info":CONNECTION}""", "request_type is of type Array, must be a string")]
    [InlineData("""{"id":"other","connection_info":CONNECTION}""", "connection_info.info.context differs from id")]
    public async Task A_header_with_a_wrong_field_is_acknowledged_and_its_sender_is_told(string header, string problem)
    {
        var info = """{"address":"127.0.0.1:1","subject":"s","context":"r","stream_type":"response"}""";
        Assert.Null(SendHeader(Create(new AdmissionLimits(1, 1)), WithConnection(header, "tcp_server", info)));
        var call = await _dialer.NextAsync().AsTask().WaitAsync(Limit);
        await call.Ended.WaitAsync(Limit);
        Assert.Equal(problem, call.Refusal?.Message);
    }

    [Theory]
    [InlineData("tcp_server", """{"address":"127.0.0.1:1","subject":5}""", "connection_info.info.subject is missing or not a string")]
    [InlineData("tcp_server", """{"address":5,"subject":"s"}""", "connection_info.info.address is missing or not a string")]
    [InlineData("tcp_server", """{"address":"nowhere","subject":"s"}""", "connection_info.info.address 'nowhere' is not ip:port")]
    [InlineData("tcp_server", "[]", "connection_info.info.subject is missing or not a string")]
    [InlineData("tcp_server", "{", "control header is not readable")]
    [InlineData("quic-response", "{}", "connection_info.transport 'quic-response' is not 'tcp_server'")]
    public void What_says_nowhere_to_answer_to_is_not_acknowledged(string transport, string info, string problem)
    {
        var refusal = SendHeader(
            Create(new AdmissionLimits(1, 1)),
            WithConnection("""{"id":"r","connection_info":CONNECTION}""", transport, info)
        );
        Assert.StartsWith($"Server unavailable: the request cannot be answered: {problem}", refusal, StringComparison.Ordinal);
        Assert.Equal(0, _endpoint.Ledger.Open);
    }

    [Theory]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("5")]
    public void Neither_is_what_is_no_header_at_all(string header) =>
        Assert.StartsWith("Server unavailable: ", SendHeader(Create(new AdmissionLimits(1, 1)), header), StringComparison.Ordinal);

    private static string WithConnection(string header, string transport, string info) =>
        header.Replace(
            "CONNECTION",
            new JsonObject { ["transport"] = transport, ["info"] = info }.ToJsonString(),
            StringComparison.Ordinal
        );

    private RequestDispatcher Create(AdmissionLimits limits)
    {
        var dispatcher = new RequestDispatcher(
            _dialer,
            limits,
            _metrics.Dispatcher,
            TimeProvider.System,
            NullLogger<RequestDispatcher>.Instance
        );
        dispatcher.Add("route", _endpoint);
        return dispatcher;
    }

    private static string? Send(RequestDispatcher dispatcher, string id, Action? release = null)
    {
        var info = $$"""{\"address\":\"127.0.0.1:1\",\"subject\":\"s\",\"context\":\"{{id}}\",\"stream_type\":\"response\"}""";
        var header = $$$"""{"id":"{{{id}}}","connection_info":{"transport":"tcp_server","info":"{{{info}}}"}}""";
        return SendHeader(dispatcher, header, release);
    }

    private static string? SendHeader(RequestDispatcher dispatcher, string header, Action? release = null)
    {
        var payload = new ArrayBufferWriter<byte>();
        TwoPartMessage.Write(payload, Encoding.UTF8.GetBytes(header), "{}"u8);
        return dispatcher.Accept("route", default, payload.WrittenMemory, release);
    }

    /// <summary>Waits until its request is cancelled, as one that the engine works on does.</summary>
    private sealed class WaitingHandler : IEndpointHandler
    {
        // The test goes on elsewhere.
        private readonly TaskCompletionSource _entered = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task Entered => _entered.Task;

        /// <summary>In place of waiting.</summary>
        public Func<RequestContext, IResponseWriter, Task>? Answer { get; set; }

        public Task HandleAsync(RequestContext context, IResponseWriter responses)
        {
            _entered.TrySetResult();
            return Answer?.Invoke(context, responses) ?? Task.Delay(Timeout.Infinite, context.Cancelled);
        }
    }
}
