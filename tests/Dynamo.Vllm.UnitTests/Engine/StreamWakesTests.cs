using System.Text;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Generate;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Transports.Tcp;
using Dynamo.Vllm.UnitTests.Transports;

namespace Dynamo.Vllm.UnitTests.Engine;

/// <summary>Who goes on where, once a batch has been delivered, and what a token allocates on its way.</summary>
public sealed class StreamWakesTests : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);

    private readonly GuestBorder _border = new();
    private readonly StreamWakes _wakes = new(pace: null);
    private ulong _lastId;

    [Fact]
    public async Task A_few_readers_go_on_in_the_loop_itself()
    {
        var readers = await StartAsync(16);
        var thread = Environment.CurrentManagedThreadId;
        DeliverToAll(readers, FinishReason.None);
        Assert.All(readers, reader => Assert.Empty(reader.Threads)); // not before the batch is over
        _wakes.Run();
        Assert.All(readers, reader => Assert.Equal([thread], reader.Threads));
    }

    [Fact]
    public async Task Many_readers_go_on_in_the_pool_and_each_gets_every_token()
    {
        var readers = await StartAsync(100);
        for (var step = 0; step < 50; step++)
        {
            DeliverToAll(readers, FinishReason.None);
            _wakes.Run();
        }

        DeliverToAll(readers, FinishReason.Stop);
        _wakes.Run();
        await Task.WhenAll(readers.Select(reader => reader.Done)).WaitAsync(Limit);
        Assert.All(readers, reader => Assert.Equal(51, reader.Tokens));
    }

    [Fact]
    public async Task A_reader_at_its_end_does_not_hold_the_loop_up()
    {
        using var held = new ManualResetEventSlim();
        var readers = await StartAsync(2, atEnd: held.Wait);
        DeliverToAll(readers, FinishReason.Length);
        _wakes.Run();
        Assert.All(readers, reader => Assert.False(reader.Done.IsCompleted));
        held.Set();
        await Task.WhenAll(readers.Select(reader => reader.Done)).WaitAsync(Limit);
    }

    [Fact]
    public async Task Nothing_is_allocated_for_a_token_between_the_engine_and_the_socket()
    {
        await using var home = new TcpCallHome(
            new CallHomeConnection(new CallerStream(keepsWrites: false), _ => Task.FromResult<Stream?>(null)),
            new RequestEnvelope("c", PayloadCodec.MessagePack, "127.0.0.1:1", "s", IsStreamingInput: false),
            TimeProvider.System
        );
        var body = Encoding.UTF8.GetBytes(
            """{"model":"m","token_ids":[1,2],"stop_conditions":{},"sampling_options":{},"output_options":{}}"""
        );
        var context = new RequestContext("r", PayloadCodec.Json, body, new Dictionary<string, string>());
        var stream = _border.Streams.Add(++_lastId);
        var builder = new DeltaBuilder(PreprocessedRequestParser.Parse(body, PayloadCodec.Json), false, false);
        var pumping = await Task.Run(async () =>
        {
            await home.AcceptAsync();
            Func<EngineOutput, ValueTask> write = output => builder.Build(output) is { } delta ? home.WriteAsync(delta) : default;
            return Task.WhenAny(EngineStreamPump.RunAsync(context, stream, new AbortGuard(stream, holdUntilFirstOutput: false), write));
        });
        Steps(stream, 200); // the opening of the answer is kept, and buffers grow to their size
        var allocated = Enumerable.Range(0, 100).Select(_ => AllocatedBy(() => Steps(stream, 10))).ToArray();
        // What the runtime itself does once, on whichever thread it happens to, is no token's: a token's would be in every part.
        Assert.True(allocated.Count(bytes => bytes > 0) <= 1, $"bytes in each ten tokens: {string.Join(' ', allocated)}");
        Deliver(stream, FinishReason.Stop);
        _wakes.Run();
        await pumping.WaitAsync(Limit);
    }

    public void Dispose() => _border.Dispose();

    /// <returns>Bytes, on this thread.</returns>
    private static long AllocatedBy(Action action)
    {
        var before = GC.GetAllocatedBytesForCurrentThread();
        action();
        return GC.GetAllocatedBytesForCurrentThread() - before;
    }

    private void Steps(EngineStream stream, int count)
    {
        for (var i = 0; i < count; i++)
        {
            Deliver(stream, FinishReason.None);
            _wakes.Run();
        }
    }

    private async Task<Reader[]> StartAsync(int count, Action? atEnd = null)
    {
        var readers = new Reader[count];
        // A reader starts where no context of the test would take it back to.
        await Task.Run(() =>
        {
            for (var i = 0; i < count; i++)
            {
                readers[i] = new Reader(_border.Streams.Add(++_lastId), atEnd);
            }
        });
        return readers;
    }

    private void DeliverToAll(Reader[] readers, FinishReason finish) => Array.ForEach(readers, reader => Deliver(reader.Stream, finish));

    private void Deliver(EngineStream stream, FinishReason finish) => _border.Deliver(stream, token: 7, finish, _wakes);

    private sealed class Reader
    {
        public Reader(EngineStream stream, Action? atEnd)
        {
            Stream = stream;
            Done = ReadAsync(atEnd);
        }

        public EngineStream Stream { get; }

        public Task Done { get; }

        public int Tokens { get; private set; }

        public List<int> Threads { get; } = [];

        private async Task ReadAsync(Action? atEnd)
        {
            while (true)
            {
                EngineOutput? output;
                while (!Stream.TryTake(out output))
                {
                    await Stream.WaitAsync();
                    Threads.Add(Environment.CurrentManagedThreadId);
                }

                Tokens += output.Tokens.Length;
                if (output.IsLast)
                {
                    atEnd?.Invoke();
                    return;
                }
            }
        }
    }
}
