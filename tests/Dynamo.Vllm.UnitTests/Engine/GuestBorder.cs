using System.Buffers;
using System.Buffers.Binary;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Control;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Python.Interpreter;
using Dynamo.Vllm.Python.Locating;
using Dynamo.Vllm.Testing.Logs;

namespace Dynamo.Vllm.UnitTests.Engine;

/// <summary>The engine's parts around a host whose interpreter was never started: the test is the guest.</summary>
internal sealed class GuestBorder : IDisposable
{
    private readonly PythonHost _host = new(
        new PythonInstallation("", "", "", 3, 12),
        new GuestProgram(new Dictionary<string, string>(), "", "")
    );

    public GuestBorder()
    {
        Mailbox = new GuestMailbox(_host);
        Calls = new GuestCalls(Mailbox);
        Commands = new StreamCommands(Mailbox, Log.For<EngineStreams>());
        Streams = new EngineStreams(Commands);
        Encodes = new PendingEncodes(Mailbox);
        Load = new LoadListeners(Log.For<LoadListeners>());
        Delivery = new GuestDelivery(Streams, Encodes, Calls, Load, Steps, Taught.Add, Deaths.Add, Log, Log.For<GuestDelivery>());
    }

    public LogCapture Log { get; } = new();

    public GuestMailbox Mailbox { get; }

    public StreamCommands Commands { get; }

    public StepCounter Steps { get; } = new();

    /// <summary>How requests are encoded, as the guest has told.</summary>
    public List<GuestTemplate> Taught { get; } = [];

    public GuestCalls Calls { get; }

    public EngineStreams Streams { get; }

    public PendingEncodes Encodes { get; }

    public LoadListeners Load { get; }

    public GuestDelivery Delivery { get; }

    /// <summary>Why the engine was given up, each time that somebody wanted to.</summary>
    public List<string> Deaths { get; } = [];

    /// <summary>The guest posts one batch and ends; returns when all of it has been delivered.</summary>
    public async Task DeliverAsync(params byte[][] records)
    {
        var batches = System.Threading.Channels.Channel.CreateUnbounded<GuestBatch>();
        batches.Writer.TryWrite(new GuestBatch(records.SelectMany(record => record).ToArray()));
        batches.Writer.Complete();
        await Delivery.RunAsync(batches.Reader);
    }

    /// <summary>One token for one stream; whoever waits for it is left to <paramref name="wakes"/>.</summary>
    public void Deliver(EngineStream stream, int token, FinishReason finish, StreamWakes wakes)
    {
        ReadOnlySpan<int> tokens = [token];
        var record = new TokensRecord
        {
            Stream = stream.Id,
            Flags = finish == FinishReason.None ? TokensFlags.None : TokensFlags.Finished,
            Finish = finish,
            PromptTokens = TokensRecord.AsBefore,
            CachedTokens = TokensRecord.AsBefore,
            Tokens = tokens,
        };
        Streams.Deliver(stream, record, wakes);
    }

    /// <summary>What the guest was told since the last look.</summary>
    public List<(GuestOperation Operation, ulong Id)> Told()
    {
        var output = new ArrayBufferWriter<byte>();
        ((IGuestPort)_host).Take(output);
        var told = new List<(GuestOperation, ulong)>();
        for (
            var rest = output.WrittenSpan;
            rest.Length > 0;
            rest = rest[(sizeof(uint) + (int)BinaryPrimitives.ReadUInt32LittleEndian(rest))..]
        )
        {
            told.Add(((GuestOperation)rest[4], BinaryPrimitives.ReadUInt64LittleEndian(rest[5..])));
        }

        return told;
    }

    public static List<int[]> Read(EngineStream stream)
    {
        var outputs = new List<int[]>();
        while (stream.TryTake(out EngineOutput? output))
        {
            outputs.Add(output.Tokens.ToArray());
        }

        return outputs;
    }

    public void Dispose() => _host.Dispose();
}
