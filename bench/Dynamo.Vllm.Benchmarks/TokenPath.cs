using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Generate;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Engine.Direct;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Protocol.Zmtp;
using Dynamo.Vllm.Python.Interpreter;
using Dynamo.Vllm.Python.Locating;
using Dynamo.Vllm.Transports.Tcp;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.Benchmarks;

/// <summary>What a token costs between EngineCore's socket and the caller's, beside a bare loop that writes the same bytes.</summary>
/// <remarks>
/// Another process is EngineCore, which sends steps at a fixed pace, and every caller, which reads and forgets. What is told is the CPU
/// time of this process per token. The bare loop reads the same steps, looks at none, and sends a prepared frame to each socket: the floor.
/// </remarks>
internal static class TokenPath
{
    public const string PeerVerb = "token-path-peer";
    private const int Rounds = 2;

    /// <summary>An item of one token as the worker writes it.</summary>
    private static readonly byte[] Frame = new byte[24 + 60];

    public static async Task MeasureAsync(int[] streams, int stepMilliseconds)
    {
        foreach (var count in streams)
        {
            for (var round = 1; round <= Rounds; round++)
            {
                var bare = await RoundAsync(count, stepMilliseconds, BareAsync);
                var ours = await RoundAsync(count, stepMilliseconds, OursAsync);
                Console.WriteLine(
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"{count, 5} streams  bare {bare.Micros, 6:0.00} us  ours {ours.Micros, 6:0.00} us in "
                            + $"{ours.Items} items of {ours.Tokens} tokens, {ours.Bytes, 5:0} bytes allocated  "
                            + $"ratio {ours.Micros / bare.Micros:0.00}"
                    )
                );
            }
        }
    }

    private static async Task<Result> RoundAsync(int streams, int stepMilliseconds, Func<ZmtpConnection, Socket[], Meter, Task> run)
    {
        var steps = Math.Clamp(40_000 / streams, 200, 1000);
        using var sockets = EngineSockets.Listen(place: null);
        var accepting = sockets.AcceptAsync(TimeProvider.System, default);
        using var peer = StartPeer(sockets, streams, steps, stepMilliseconds);
        var port = int.Parse((await peer.StandardOutput.ReadLineAsync())!, CultureInfo.InvariantCulture);
        var (input, output) = await accepting;
        var callers = new Socket[streams];
        for (var i = 0; i < streams; i++)
        {
            callers[i] = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            await callers[i].ConnectAsync(IPAddress.Loopback, port);
        }

        var meter = new Meter(peer, streams, steps);
        await run(output, callers, meter);
        await peer.WaitForExitAsync();
        await input.DisposeAsync();
        await output.DisposeAsync();
        return meter.Read();
    }

    private static Process StartPeer(EngineSockets sockets, int streams, int steps, int stepMilliseconds)
    {
        var arguments = new[] { PeerVerb, sockets.InputAddress, sockets.OutputAddress, $"{streams}", $"{steps}", $"{stepMilliseconds}" };
        var start = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardInput = true, RedirectStandardOutput = true };
        if (Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet")
        {
            start.ArgumentList.Add(typeof(TokenPath).Assembly.Location);
        }

        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        return Process.Start(start)!;
    }

    private static async Task BareAsync(ZmtpConnection output, Socket[] callers, Meter meter)
    {
        var message = new ZmtpMessageReader(framesKept: 1, 64 << 20);
        meter.Begin();
        for (var steps = 0; steps < meter.Steps; )
        {
            var result = await output.Input.ReadAsync();
            var buffer = result.Buffer;
            while (message.TryRead(ref buffer))
            {
                steps += message.IsCommand ? 0 : 1;
                for (var i = 0; i < callers.Length && !message.IsCommand; i++)
                {
                    callers[i].Send(Frame);
                    meter.CountItem();
                }
            }

            output.Input.AdvanceTo(buffer.Start, buffer.End);
        }

        meter.End();
        Array.ForEach(callers, caller => caller.Dispose());
    }

    private static async Task OursAsync(ZmtpConnection output, Socket[] callers, Meter meter)
    {
        using var host = new PythonHost(
            new PythonInstallation("", "", "", 3, 12),
            new GuestProgram(new Dictionary<string, string>(), "", "")
        );
        var mailbox = new GuestMailbox(host);
        var commands = new StreamCommands(mailbox, NullLogger.Instance);
        var streams = new EngineStreams(commands);
        using var report = new StatisticsReport(mailbox, TimeProvider.System);
        var running = new ConcurrentDictionary<ulong, DirectRequest>();
        var engine = new OneEngine(streams, running);
        var options = new GenerateOptions { BaseModelNames = new HashSet<string> { "m" } };
        var handler = new AggregatedHandler(engine, options, adapters: null, firstTokens: null);
        var requests = callers.Select(caller => AnswerAsync(handler, caller, meter)).ToArray();
        var loop = new EngineOutputLoop(
            running,
            streams,
            report,
            new LoadListeners(NullLogger.Instance),
            new StepCounter(),
            NullLogger.Instance
        );
        meter.Begin();
        using var done = new CancellationTokenSource();
        var reading = loop.RunAsync(output, done.Token);
        await Task.WhenAll(requests);
        meter.End();
        await done.CancelAsync();
        await reading.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private static async Task AnswerAsync(AggregatedHandler handler, Socket caller, Meter meter)
    {
        var envelope = new RequestEnvelope("c", PayloadCodec.MessagePack, "127.0.0.1:1", "s", IsStreamingInput: false);
        var body = Encoding.UTF8.GetBytes(
            """{"model":"m","token_ids":[1,2,3],"stop_conditions":{"max_tokens":100000},"sampling_options":{},"output_options":{}}"""
        );
        var context = new RequestContext("r", PayloadCodec.Json, body, new Dictionary<string, string>());
        var connection = new CallHomeConnection(new NetworkStream(caller, ownsSocket: true), _ => Task.FromResult<Stream?>(null));
        await using var home = new TcpCallHome(connection, envelope, TimeProvider.System) { ItemSent = meter.CountItem };
        home.Watch(context);
        await home.AcceptAsync();
        await handler.HandleAsync(context, home);
        await home.CompleteAsync();
    }

    private sealed record Result(double Micros, long Items, long Tokens, double Bytes);

    /// <summary>Between the first step and the last one.</summary>
    private sealed class Meter(Process peer, int streams, int steps)
    {
        private TimeSpan _cpu;
        private long _bytes;
        private long _items;

        public int Steps => steps;

        public void Begin()
        {
            GC.Collect();
            _bytes = GC.GetTotalAllocatedBytes();
            _cpu = Environment.CpuUsage.TotalTime;
            peer.StandardInput.Close(); // go
        }

        public void CountItem() => Interlocked.Increment(ref _items);

        public void End()
        {
            _cpu = Environment.CpuUsage.TotalTime - _cpu;
            _bytes = GC.GetTotalAllocatedBytes() - _bytes;
        }

        public Result Read()
        {
            var tokens = (long)streams * steps;
            return new Result(_cpu.TotalMicroseconds / tokens, _items, tokens, _bytes / (double)tokens);
        }
    }

    private sealed class OneEngine(EngineStreams streams, ConcurrentDictionary<ulong, DirectRequest> running) : IEngine
    {
        private ulong _lastId;

        public event Action<EngineLoad>? LoadChanged
        {
            add { }
            remove { }
        }

        public EngineDescription Description { get; } =
            new()
            {
                EngineVersion = "",
                Model = "m",
                MaxModelLength = 1_000_000,
                BlockSize = 16,
                KvEventBlockSize = 16,
                MaxNumSeqs = 4096,
                MaxNumBatchedTokens = 4096,
            };

        public int RunningRequests => streams.Count;

        public long Steps => 0;

        public Task<string> Died { get; } = new TaskCompletionSource<string>().Task;

        public IEngineControl Control => throw new NotSupportedException();

        public IEngineStream Submit(EngineRequest request)
        {
            var id = Interlocked.Increment(ref _lastId);
            var stream = streams.Add(id);
            running[id] = new DirectRequest(stream, $"r-{id:x8}", request, 0);
            return stream;
        }

        public void ReleaseRequests(Protocol.Errors.DynamoError error) => streams.ReleaseAll(error);
    }
}
