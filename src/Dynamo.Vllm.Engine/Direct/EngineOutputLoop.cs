using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Zmtp;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>Reads what the engine's steps bring and gives each request its share. One loop.</summary>
internal sealed partial class EngineOutputLoop(
    ConcurrentDictionary<ulong, DirectRequest> running,
    EngineStreams streams,
    StatisticsReport report,
    LoadListeners load,
    StepCounter steps,
    ILogger logger
)
{
    /// <summary>A step of ten thousand requests has some 400 KiB: what is larger is no step.</summary>
    private const int MessageBytesMax = 64 * 1024 * 1024;

    private readonly List<StepShare> _shares = [];
    private readonly StreamWakes _wakes = new(streams.Pace);
    private int[] _tokens = new int[16];
    private bool _hasWarned;

    /// <summary>The engine's last words, when it ends by a fault of its own.</summary>
    private static ReadOnlySpan<byte> EngineCoreDead => "ENGINE_CORE_DEAD"u8;

    /// <summary>Until the engine closes the connection.</summary>
    /// <exception cref="Protocol.ProtocolException">It sends what is no output of a step.</exception>
    public Task RunAsync(ZmtpConnection output, CancellationToken cancellationToken) =>
        ReadAsync(output, MessageBytesMax, Read, _wakes.Run, cancellationToken);

    /// <summary>The engine says once what it is, which vLLM's front end has heard as well; nothing else comes on this connection.</summary>
    public static Task ReadReadyAsync(ZmtpConnection input, CancellationToken cancellationToken) =>
        ReadAsync(input, ZmtpConnection.CommandBytesMax, static _ => true, static () => { }, cancellationToken);

    private static async Task ReadAsync(
        ZmtpConnection connection,
        int bytesMax,
        Func<ReadOnlyMemory<byte>, bool> read,
        Action pause,
        CancellationToken cancellationToken
    )
    {
        var message = new ZmtpMessageReader(framesKept: 1, bytesMax);
        while (true)
        {
            var result = await connection.Input.ReadAsync(cancellationToken).ConfigureAwait(false);
            var buffer = result.Buffer;
            var goesOn = true;
            while (goesOn && message.TryRead(ref buffer))
            {
                goesOn = message.IsCommand || read(message.Frame(0));
            }

            connection.Input.AdvanceTo(buffer.Start, buffer.End);
            pause();
            if (result.IsCompleted || !goesOn)
            {
                return;
            }
        }
    }

    /// <returns>False if it was the last message.</returns>
    private bool Read(ReadOnlyMemory<byte> message)
    {
        var body = message.Span;
        if (body.SequenceEqual(EngineCoreDead))
        {
            return false;
        }

        _shares.Clear();
        var reader = new EngineOutputsReader(body);
        while (reader.TryRead(ref _tokens, out var entry))
        {
            if (running.TryGetValue(entry.Stream, out var request))
            {
                _shares.Add(Deliver(request, entry));
            }
        }

        var statistics = reader.ReadRest(out var timestamp);
        SchedulerSample? scheduler = statistics.IsEmpty ? null : SchedulerSample.Read(statistics);
        report.Add(new EngineStep(CollectionsMarshal.AsSpan(_shares), reader.HasOutputs, scheduler, timestamp), statistics);
        steps.Count();
        if (scheduler is { } sample)
        {
            load.Notify(new EngineLoad(Rank: 0, sample.KvCacheUsage, sample.Running, sample.Waiting), timestamp);
        }

        return true;
    }

    private StepShare Deliver(DirectRequest request, scoped in EngineOutputEntry entry)
    {
        var events = EngineEvents.Read(entry.Events);
        request.Note(events);
        var prefill = entry.Prefill.IsEmpty ? default : PrefillCounts.Read(entry.Prefill);
        var record = new TokensRecord
        {
            Stream = entry.Stream,
            Finish = entry.Finish,
            PromptTokens = TokensRecord.AsBefore,
            CachedTokens = TokensRecord.AsBefore,
            Tokens = entry.Tokens,
        };
        if (request.IsPrefilling)
        {
            request.NotePrefill(prefill);
            (record.PromptTokens, record.CachedTokens) = (request.PromptTokens, request.CachedTokens);
        }

        if (entry.Surplus != 0 && !_hasWarned)
        {
            _hasWarned = true; // once: it would come back with every step
            LogSurplus(logger, entry.Surplus);
        }

        if (entry.Finish != FinishReason.None)
        {
            record.Flags |= TokensFlags.Finished;
            AddExtras(ref record, entry);
        }

        if (streams.Deliver(request.Stream, record, _wakes))
        {
            running.TryRemove(entry.Stream, out _);
        }

        return new StepShare(request, entry.Tokens.Length, events.Preemptions, prefill, entry.Finish);
    }

    /// <summary>What a record of the guest has as JSON (<c>delivery.py</c>).</summary>
    private static void AddExtras(ref TokensRecord record, scoped in EngineOutputEntry entry)
    {
        var reason = entry.StopReason.IsEmpty ? "" : Json(entry.StopReason);
        var hasReason = reason is not ("" or "0" or "\"\""); // as Python sees it
        if (!hasReason && entry.KvTransferParams.IsEmpty)
        {
            return;
        }

        var parts = new List<string>(2);
        if (hasReason)
        {
            parts.Add($"\"stop_reason\":{reason}");
        }

        if (!entry.KvTransferParams.IsEmpty)
        {
            parts.Add($"\"kv_transfer_params\":{Json(entry.KvTransferParams)}");
        }

        record.Flags |= TokensFlags.Extras;
        record.Extras = Encoding.UTF8.GetBytes($"{{{string.Join(',', parts)}}}");
    }

    private static string Json(ReadOnlySpan<byte> messagePack)
    {
        var reader = new MessagePackReader(messagePack);
        return Encoding.UTF8.GetString(MessagePackJson.ReadAsJson(ref reader, "output of the engine"));
    }

    [LoggerMessage(
        EventId = 4009,
        Level = LogLevel.Error,
        Message = "The engine's outputs bring something at position {Position}, which is lost; --engine-drive raw reads it"
    )]
    private static partial void LogSurplus(ILogger logger, int position);
}
