using System.Buffers;
using System.Text;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Framing;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Protocol.Responses;
using Dynamo.Vllm.Transports.Tcp;

namespace Dynamo.Vllm.UnitTests.Transports;

/// <summary>The call-home connection of one request: what leaves in which write, and what the caller's words do.</summary>
/// <remarks>request-plane.md, 2.</remarks>
public sealed class TcpCallHomeTests : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    private readonly CallerStream _caller = new();
    private readonly RequestContext _context = new("r", PayloadCodec.Json, default, new Dictionary<string, string>());
    private readonly TcpCallHome _home;
    private int _itemsSent;

    public TcpCallHomeTests()
    {
        var info = """{\"address\":\"127.0.0.1:1\",\"subject\":\"s\",\"context\":\"r\",\"stream_type\":\"response\"}""";
        var header = $$$"""{"id":"r","payload_codec":"json","connection_info":{"transport":"tcp_server","info":"{{{info}}}"}}""";
        var envelope = RequestEnvelope.Parse(Encoding.UTF8.GetBytes(header), out var problem);
        Assert.Null(problem);
        _home = new TcpCallHome(new CallHomeConnection(_caller, _ => Task.FromResult<Stream?>(null)), envelope, TimeProvider.System)
        {
            ItemSent = () => _itemsSent++,
        };
        _home.Watch(_context);
    }

    [Fact]
    public async Task Opening_items_and_end_are_one_write_each_and_the_last_item_leaves_with_the_end()
    {
        await _home.AcceptAsync();
        await _home.WriteAsync(Item(1));
        await _home.WriteAsync(Item(2));
        await _home.WriteAsync(Item(3, finish: "length"));
        await CompleteAsync();

        Assert.Equal(
            [
                ["""H{"subject":"s","stream_type":"response"}""", """H{"error":null}"""],
                ["""B{"data":{"data":{"index":0,"token_ids":[1]}},"complete_final":false}"""],
                ["""B{"data":{"data":{"index":0,"token_ids":[2]}},"complete_final":false}"""],
                [
                    """B{"data":{"data":{"index":0,"token_ids":[3],"finish_reason":"length"}},"complete_final":false}""",
                    """B{"complete_final":true}""",
                    """H"sentinel" """.TrimEnd(),
                ],
            ],
            _caller.Writes.Select(Frames)
        );
        Assert.Equal(3, _itemsSent);
    }

    [Fact]
    public async Task What_ends_in_an_error_proves_nothing()
    {
        await _home.AcceptAsync();
        var failed = Item(1, finish: "error: no");
        failed.IsError = true;
        await _home.WriteAsync(failed);
        await CompleteAsync();
        Assert.Equal(0, _itemsSent);
    }

    [Fact]
    public async Task An_end_that_only_begins_like_an_error_is_none()
    {
        await _home.AcceptAsync();
        await _home.WriteAsync(Item(1, finish: "errorless"));
        await CompleteAsync();
        Assert.Equal(1, _itemsSent);
    }

    [Fact]
    public async Task An_item_that_cannot_be_written_leaves_no_half_frame_before_the_error()
    {
        await _home.AcceptAsync();
        var broken = Item(1);
        broken.EngineDataJson = "{"u8.ToArray();
        await Assert.ThrowsAnyAsync<Exception>(() => _home.WriteAsync(broken).AsTask());
        await _home.WriteErrorAsync(DynamoError.Unknown("no"));
        await CompleteAsync();

        var frames = Frames(_caller.Writes[^1]);
        Assert.Equal(3, frames.Count);
        Assert.Contains("\"event\":\"error\"", frames[0], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("\"kill\"", CancellationCause.Kill)]
    [InlineData("\"stop\"", CancellationCause.Stop)]
    [InlineData("\"what\"", CancellationCause.Kill)]
    public async Task The_caller_s_word_cancels(string word, CancellationCause cause)
    {
        await _home.AcceptAsync();
        var frame = new ArrayBufferWriter<byte>();
        TwoPartMessage.Write(frame, Encoding.UTF8.GetBytes(word), default);
        _caller.Say(frame.WrittenSpan[..5].ToArray()); // in two pieces
        _caller.Say(frame.WrittenSpan[5..].ToArray());
        await CancelledAsync();
        Assert.Equal(cause, _context.Cause);
    }

    [Fact]
    public async Task A_frame_that_is_larger_than_any_word_ends_the_connection_before_it_is_read()
    {
        await _home.AcceptAsync();
        var prefix = new byte[TwoPartMessage.PrefixBytes];
        TwoPartMessage.WritePrefix(prefix, int.MaxValue, 0);
        _caller.Say(prefix);
        await CancelledAsync();
        Assert.Equal(CancellationCause.Disconnect, _context.Cause);
    }

    [Fact]
    public async Task A_caller_that_is_gone_before_the_end_has_left_and_one_that_closes_after_it_has_not()
    {
        await _home.AcceptAsync();
        await CompleteAsync();
        Assert.Equal(CancellationCause.None, _context.Cause);
    }

    public ValueTask DisposeAsync() => _home.DisposeAsync();

    private async Task CancelledAsync()
    {
        // Not on the listener's stack.
        var cancelled = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var registration = _context.Cancelled.Register(cancelled.SetResult);
        await cancelled.Task.WaitAsync(Limit);
    }

    /// <summary>The caller closes when it has got the end, and not before: then it would have left.</summary>
    private Task CompleteAsync()
    {
        var ending = _home.CompleteAsync().AsTask();
        _caller.End();
        return ending.WaitAsync(Limit);
    }

    private static TokenDelta Item(int token, string? finish = null) =>
        new()
        {
            Index = 0,
            TokenIds = new[] { token },
            FinishReason = finish,
        };

    /// <summary>The frames of one write: <c>H</c> and a header, or <c>B</c> and a body.</summary>
    private static List<string> Frames(byte[] write)
    {
        var frames = new List<string>();
        for (var rest = write.AsMemory(); rest.Length > 0; )
        {
            var (header, body) = TwoPartMessage.ReadLengths(rest.Span);
            var length = TwoPartMessage.PrefixBytes + (int)(header + body);
            var text = Encoding.UTF8.GetString(rest.Span[TwoPartMessage.PrefixBytes..length]);
            frames.Add((header > 0 ? "H" : "B") + text);
            rest = rest[length..];
        }

        return frames;
    }
}
