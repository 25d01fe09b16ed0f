using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Direct;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Testing;
using Microsoft.Extensions.Time.Testing;

namespace Dynamo.Vllm.UnitTests.Engine.Direct;

public sealed class DirectDriveTests : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);

    private readonly GuestBorder _border = new();
    private readonly TaskCompletionSource<string> _death = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<EngineLoad> _load = [];
    private readonly DirectDrive _drive;
    private ulong _lastId = 9;

    public DirectDriveTests()
    {
        _border.Load.Add(_load.Add);
        _drive = NewDrive(TimeProvider.System);
    }

    [Fact]
    public async Task The_first_request_with_some_parameters_is_a_question_and_the_next_goes_to_the_engine()
    {
        await using var engine = await OpenAsync();
        Assert.False(TrySubmit(out _, out var question));
        Assert.False(TrySubmit(out _, out var again));
        Assert.Null(again); // the answer is awaited
        Teach(question!.Value);
        Assert.True(TrySubmit(out var stream, out _));
        var (type, body) = await engine.ReceiveAsync();
        Assert.Equal((0, $"r-{stream!.Id:x8}"), (type, (string)body[0]!));
        Assert.Equal(1, _drive.Requests);
    }

    [Fact]
    public async Task Outputs_reach_their_stream_with_what_the_first_and_the_last_one_say()
    {
        await using var engine = await OpenAsync();
        var stream = Submit();
        var id = $"r-{stream.Id:x8}";
        await engine.StepAsync(1.0, (id, [5], null));
        await stream.WaitAsync().AsTask().WaitAsync(Limit);
        Assert.True(stream.TryTake(out var output));
        Assert.Equal([5], output.Tokens.ToArray());
        Assert.Equal((3, 0, false), (output.PromptTokens, output.CachedTokens, output.IsLast));
        await engine.StepAsync(1.5, ("nobody-0000ffff", [1], null), (id, [6, 7], 1));
        await stream.WaitAsync().AsTask().WaitAsync(Limit);
        Assert.True(stream.TryTake(out output));
        Assert.Equal([6, 7], output.Tokens.ToArray());
        Assert.Equal((FinishReason.Length, true), (output.Finish, output.IsLast));
        Assert.Equal(0, _border.Streams.Count);
        Assert.Equal(2, _border.Steps.Value);
        Assert.Equal(new EngineLoad(0, 0.25, 2, 0), _load[^1]);
    }

    [Fact]
    public async Task An_aborted_request_ends_at_once_and_the_engine_is_told()
    {
        await using var engine = await OpenAsync();
        var stream = Submit();
        await engine.ReceiveAsync();
        stream.Abort();
        Assert.True(stream.TryTake(out var output));
        Assert.Equal((FinishReason.Abort, true, 3), (output.Finish, output.IsLast, output.PromptTokens));
        var (type, body) = await engine.ReceiveAsync();
        Assert.Equal((1, $"r-{stream.Id:x8}"), (type, (string)Assert.Single(body)!));
        await engine.StepAsync(2, ($"r-{stream.Id:x8}", [5], null)); // already on its way
        await Polling.UntilAsync("the step is not read", Limit, () => Task.FromResult(_border.Steps.Value == 1));
        Assert.False(stream.TryTake(out _));
        Assert.Equal(0, _border.Streams.Count);
    }

    [Fact]
    public async Task An_engine_that_closes_its_connections_is_dead()
    {
        var engine = await OpenAsync();
        await engine.DisposeAsync();
        Assert.Equal("EngineCore has died: it has closed its connection", await _death.Task.WaitAsync(Limit));
    }

    [Fact]
    public async Task An_engine_that_says_so_is_dead()
    {
        await using var engine = await OpenAsync();
        await engine.SendAsync("ENGINE_CORE_DEAD"u8.ToArray());
        Assert.StartsWith("EngineCore has died", await _death.Task.WaitAsync(Limit), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Outputs_that_cannot_be_read_are_the_engine_s_death_since_every_stream_must_end()
    {
        await using var engine = await OpenAsync();
        await engine.SendAsync(new byte[] { 0x91, 0xc1 });
        Assert.StartsWith("EngineCore has died: ", await _death.Task.WaitAsync(Limit), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_engine_that_was_told_to_end_is_not_dead()
    {
        var engine = await OpenAsync();
        _drive.ExpectEnd();
        await engine.DisposeAsync();
        await _drive.DisposeAsync();
        Assert.False(_death.Task.IsCompleted);
    }

    [Fact]
    public async Task A_request_that_meets_the_engine_s_end_may_go_elsewhere()
    {
        var engine = await OpenAsync();
        Submit();
        await engine.DisposeAsync();
        await _death.Task.WaitAsync(Limit);
        var failure = Assert.Throws<RequestFailedException>(() => TrySubmit(out _, out _));
        Assert.Equal("the engine has ended", failure.Error.Message);
        Assert.Equal(1, _border.Streams.Count); // the one before: whoever hears of the death fails it
    }

    [Fact]
    public async Task Without_the_engine_s_consent_nothing_goes_this_way_and_no_socket_is_left()
    {
        var offer = _drive.Offer(place: null)!;
        await _drive.OpenAsync(use: null, default);
        Assert.False(TrySubmit(out _, out var question));
        Assert.Null(question);
        Assert.False(Directory.Exists(Path.GetDirectoryName(((string)offer["input"]!)["ipc://".Length..])));
    }

    [Fact]
    public async Task An_engine_that_tells_of_its_steps_alone_is_heard_as_long_as_it_lives()
    {
        await using var engine = await StandInEngineCore.ConnectAsync(_drive.Offer(place: null)!);
        await _drive.OpenAsync("statistics", default);
        Assert.False(TrySubmit(out _, out var question));
        Assert.Null(question);
        const int steps = 2000; // more than its socket keeps for a client that does not read
        for (var step = 1; step <= steps; step++)
        {
            await engine.StepAsync(step);
        }

        await Polling.UntilAsync("the steps are not read", Limit, () => Task.FromResult(_border.Steps.Value == steps));
        Assert.Equal(steps, _load.Count);
        Assert.Empty(_border.Log.Lines);
        await engine.DisposeAsync();
        Assert.Equal("EngineCore has died: it has closed its connection", await _death.Task.WaitAsync(Limit));
    }

    [Fact]
    public async Task An_engine_that_takes_the_offer_and_does_not_connect_ends_the_start()
    {
        var time = new FakeTimeProvider();
        await using var drive = NewDrive(time);
        drive.Offer(place: null);
        var opening = drive.OpenAsync("requests", default);
        time.Advance(TimeSpan.FromSeconds(30));
        var failure = await Assert.ThrowsAsync<IOException>(() => opening.WaitAsync(Limit));
        Assert.StartsWith("EngineCore has not connected to this worker: ", failure.Message, StringComparison.Ordinal);
        await drive.WithdrawAsync();
    }

    [Fact]
    public async Task The_sockets_are_gone_once_the_engine_has_connected()
    {
        var offer = _drive.Offer(place: null)!;
        var folder = Path.GetDirectoryName(((string)offer["input"]!)["ipc://".Length..])!;
        Assert.Equal("700", Mode(folder));
        await using var engine = await StandInEngineCore.ConnectAsync(offer);
        await _drive.OpenAsync("requests", default);
        Assert.False(Directory.Exists(folder));
    }

    public async ValueTask DisposeAsync()
    {
        await _drive.DisposeAsync();
        _border.Dispose();
    }

    private DirectDrive NewDrive(TimeProvider time) =>
        new(
            _border.Streams,
            _border.Commands,
            new StatisticsReport(_border.Mailbox, time),
            _border.Load,
            _border.Steps,
            reason => _death.TrySetResult(reason),
            time,
            _border.Log.For<DirectDrive>()
        );

    private static string Mode(string folder) =>
        OperatingSystem.IsWindows() ? "" : Convert.ToString((int)File.GetUnixFileMode(folder), toBase: 8);

    private async Task<StandInEngineCore> OpenAsync()
    {
        var engine = await StandInEngineCore.ConnectAsync(_drive.Offer(place: null)!);
        await _drive.OpenAsync("requests", default);
        return engine;
    }

    private EngineStream Submit()
    {
        TrySubmit(out _, out var question);
        Teach(question!.Value);
        Assert.True(TrySubmit(out var stream, out _));
        return stream;
    }

    private bool TrySubmit(out EngineStream stream, out int? question)
    {
        var options = PreprocessedRequestParser.Parse("""{"token_ids":[1,2,3]}"""u8.ToArray(), PayloadCodec.Json);
        var request = new EngineRequest
        {
            RequestId = "r",
            Options = options,
            MaxTokens = 5,
        };
        var isSent = _drive.TrySubmit(request, "{}"u8, ++_lastId, out var found, out question);
        stream = found!;
        return isSent;
    }

    private void Teach(int question)
    {
        var facts = new JsonObject
        {
            ["longest_prompt"] = 100,
            ["highest_token"] = 1000,
            ["least_tokens"] = 1,
            ["fields"] = new JsonArray([.. EngineFrames.RequestFields.Select(name => (JsonNode)name)]),
        };
        _drive.Learn(new GuestTemplate(question, Encoding.UTF8.GetBytes(facts.ToJsonString()), EngineFrames.PlainRequest));
    }
}
