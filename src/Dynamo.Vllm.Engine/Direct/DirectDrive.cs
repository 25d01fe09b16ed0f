using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Zmtp;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>The short way: usual requests go from here to EngineCore and their outputs come back, past the interpreter.</summary>
/// <remarks>
/// EngineCore takes us for its first front end beside vLLM's own, which keeps all that is not usual, and every control call.
/// As the first one we also hear of each step without outputs, so we read as long as the engine lives, whatever comes of requests.
/// How a request is encoded is learnt from vLLM (<see cref="RequestTemplates"/>); its loggers get the statistics (<see
/// cref="StatisticsReport"/>). One loop reads, one writes; other members are thread-safe. docs/decisions/0015-direct-drive.md.
/// </remarks>
internal sealed partial class DirectDrive : IStreamCommands, IAsyncDisposable
{
    /// <summary>The engine has connected before it reports itself ready, so this is for a machine that stands still.</summary>
    private static readonly TimeSpan ConnectTimeLimit = TimeSpan.FromSeconds(30);

    private readonly EngineStreams _streams;
    private readonly StreamCommands _commands;
    private readonly StatisticsReport _report;
    private readonly Action<string> _onEngineDeath;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly RequestTemplates _templates = new();
    private readonly ConcurrentDictionary<ulong, DirectRequest> _running = new();
    private readonly CancellationTokenSource _stopping = new();
    private readonly EngineOutputLoop _outputs;
    private Task<(ZmtpConnection Input, ZmtpConnection Output)>? _accepting;
    private volatile EngineSender? _sender;
    private volatile bool _isEndExpected;
    private long _requests;
    private Task _loops = Task.CompletedTask;

    public DirectDrive(
        EngineStreams streams,
        StreamCommands commands,
        StatisticsReport report,
        LoadListeners load,
        StepCounter steps,
        Action<string> onEngineDeath,
        TimeProvider time,
        ILogger logger
    )
    {
        _streams = streams;
        _commands = commands;
        _report = report;
        _onEngineDeath = onEngineDeath;
        _time = time;
        _logger = logger;
        _outputs = new EngineOutputLoop(_running, streams, report, load, steps, logger);
    }

    /// <summary>Those that went this way.</summary>
    public long Requests => Volatile.Read(ref _requests);

    /// <summary>Listens for the engine, which connects while it loads.</summary>
    /// <param name="place">A folder of this user alone for the sockets, or null.</param>
    /// <returns>Where, for the guest; null if there is no room for sockets, which is said once.</returns>
    public JsonObject? Offer(string? place)
    {
        try
        {
            var sockets = EngineSockets.Listen(place);
            _accepting = Task.Run(() => sockets.AcceptAsync(_time, _stopping.Token));
            return new JsonObject { ["input"] = sockets.InputAddress, ["output"] = sockets.OutputAddress };
        }
        catch (IOException exception)
        {
            LogUnavailable(_logger, exception.Message);
            return null;
        }
    }

    /// <summary>After the engine is ready: takes its connections, or withdraws the offer that it did not take.</summary>
    /// <param name="use">What we are a client for: <c>requests</c>, <c>statistics</c>, or nothing.</param>
    /// <param name="cancellationToken">Stops the wait.</param>
    /// <exception cref="IOException">The engine has not connected, and would stand still as soon as it has told us too much.</exception>
    public async Task OpenAsync(string? use, CancellationToken cancellationToken)
    {
        if (_accepting is null)
        {
            return;
        }

        if (use is null)
        {
            await WithdrawAsync().ConfigureAwait(false); // the guest has said why
            return;
        }

        try
        {
            var (input, output) = await _accepting.WaitAsync(ConnectTimeLimit, _time, cancellationToken).ConfigureAwait(false);
            var sender = new EngineSender(input);
            _loops = Task.Run(() => RunAsync(input, output, sender), CancellationToken.None);
            if (use == "requests")
            {
                _sender = sender;
                LogOpen(_logger);
            }
        }
        catch (Exception exception) when (EndsConnection(exception) || exception is TimeoutException)
        {
            throw new IOException($"EngineCore has not connected to this worker: {exception.Message}", exception);
        }
    }

    /// <summary>Nothing is left of the offer; an engine that has connected already stays so, and is not heard.</summary>
    public async Task WithdrawAsync()
    {
        if (_accepting is null)
        {
            return;
        }

        await _stopping.CancelAsync().ConfigureAwait(false);
        await ((Task)_accepting).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // that it ends is what was wanted
    }

    /// <summary>Sends a request that is like an earlier one but for what every request has of its own.</summary>
    /// <param name="request">The request.</param>
    /// <param name="key">What it has in common with others.</param>
    /// <param name="id">Of its stream.</param>
    /// <param name="stream">Its outputs.</param>
    /// <param name="question">Otherwise: what the guest should teach with it, if anything.</param>
    /// <exception cref="RequestFailedException">Too much waits for the engine, or it has ended meanwhile.</exception>
    public bool TrySubmit(
        EngineRequest request,
        ReadOnlySpan<byte> key,
        ulong id,
        [NotNullWhen(true)] out EngineStream? stream,
        out int? question
    )
    {
        stream = null;
        question = null;
        if (
            _sender is not { } sender
            || !MayBeLikeOthers(request)
            || !_templates.TryGet(key, out var template, out question)
            || !template.Fits(request)
        )
        {
            return false;
        }

        // As vLLM makes ids unique, with the number of the stream in place of a random one.
        var internalId = string.Create(CultureInfo.InvariantCulture, $"{request.RequestId}-{id:x8}");
        var arrival = _report.Now;
        stream = _streams.Add(id, this);
        _running[id] = new DirectRequest(stream, internalId, request, arrival);
        const int restBytes = 1024;
        var message = new EngineMessage(EngineMessageType.Add, restBytes + 5 * request.Options.TokenIds.Length);
        template.Write(message, request, internalId, arrival);
        if (!sender.TrySend(message, isUrgent: false))
        {
            Forget(id);
            throw new RequestFailedException(
                sender.IsComplete
                    ? DynamoError.EngineShutdown("the engine has ended")
                    : DynamoError.WorkerOverloaded("too many requests wait for the engine to read them")
            );
        }

        Interlocked.Increment(ref _requests);
        return true;
    }

    /// <summary>The guest's answer to a question.</summary>
    public void Learn(GuestTemplate taught)
    {
        try
        {
            using var document = JsonDocument.Parse(taught.Json);
            var root = document.RootElement;
            var limits = new RequestLimits(
                root.GetProperty("longest_prompt").GetInt32(),
                root.GetProperty("highest_token").GetInt32(),
                root.GetProperty("least_tokens").GetInt32()
            );
            string[] names = [.. root.GetProperty("fields").EnumerateArray().Select(name => name.GetString()!)];
            _templates.Learn(taught.Question, new RequestTemplate(taught.Encoded, names, limits));
        }
        catch (ProtocolException exception)
        {
            LogUnavailable(_logger, exception.Message);
        }
    }

    public void Retract(int question) => _templates.Retract(question);

    /// <summary>The engine sends nothing for a request that is aborted, so its end is made here, as vLLM's front end makes it.</summary>
    public void Abort(ulong stream)
    {
        if (!_running.TryRemove(stream, out var request))
        {
            return;
        }

        var message = new EngineMessage(EngineMessageType.Abort, 16 + 3 * request.InternalId.Length);
        var writer = new MessagePackWriter(message);
        writer.WriteArrayHeader(1);
        writer.WriteString(request.InternalId);
        _sender?.TrySend(message, isUrgent: true);
        _streams.EndAborted(request.Stream, request.PromptTokens, request.CachedTokens);
    }

    public void ReportSlowReader(ulong stream, int pending) => _commands.ReportSlowReader(stream, pending);

    /// <summary>Statistics of all steps so far are with vLLM's loggers before what is asked of them next.</summary>
    public void SendStatistics() => _report.Send();

    /// <summary>The engine is told to end: that it closes its connections is no fault then.</summary>
    public void ExpectEnd() => _isEndExpected = true;

    /// <summary>No request goes this way any more; those that run are failed by whoever knows why.</summary>
    public void Close()
    {
        _sender?.Complete();
        _sender = null;
        _running.Clear();
        _stopping.Cancel();
    }

    public async ValueTask DisposeAsync()
    {
        Close();
        await _loops.ConfigureAwait(false);
        _report.Dispose();
        _stopping.Dispose();
    }

    /// <summary>What else would only fill the table of templates: it differs from request to request, or is never taught.</summary>
    private static bool MayBeLikeOthers(EngineRequest request) =>
        request.Media is null
        && request.Text is null
        && request.Options is { NativeGenerate: null, PromptEmbeds: null or "" } options
        && options.SamplingOptions is { Seed: null, GuidedDecoding: null, LogitBias: null, BadWordsTokenIds: null };

    private void Forget(ulong id)
    {
        _running.TryRemove(id, out _);
        _streams.Remove(id);
    }

    private async Task RunAsync(ZmtpConnection input, ZmtpConnection output, EngineSender sender)
    {
        await using var inputOwner = input.ConfigureAwait(false);
        await using var outputOwner = output.ConfigureAwait(false);
        string problem;
        try
        {
            var writing = sender.RunAsync(_stopping.Token);
            var listening = EngineOutputLoop.ReadReadyAsync(input, _stopping.Token);
            var reading = _outputs.RunAsync(output, _stopping.Token);
            var first = await Task.WhenAny(writing, listening, reading).ConfigureAwait(false);
            await first.ConfigureAwait(false);
            problem = "it has closed its connection";
        }
        catch (OperationCanceledException) when (_stopping.IsCancellationRequested)
        {
            return;
        }
        catch (Exception exception) when (EndsConnection(exception))
        {
            problem = exception.Message;
        }
        catch (Exception exception)
        {
            // Loop supervision (style E3): what is read is not trusted any more, and every stream must end.
            LogLoopFailed(_logger, exception);
            problem = "its outputs cannot be read";
        }

        sender.Complete();
        if (!_isEndExpected && !_stopping.IsCancellationRequested)
        {
            _onEngineDeath("EngineCore has died: " + problem);
        }
    }

    private static bool EndsConnection(Exception exception) =>
        exception is IOException or SocketException or ObjectDisposedException or ProtocolException;

    [LoggerMessage(EventId = 4008, Level = LogLevel.Information, Message = "Usual requests go to the engine's process itself")]
    private static partial void LogOpen(ILogger logger);

    [LoggerMessage(
        EventId = 4006,
        Level = LogLevel.Warning,
        Message = "Every request goes through the interpreter to the engine: {Problem}"
    )]
    private static partial void LogUnavailable(ILogger logger, string problem);

    [LoggerMessage(
        EventId = 4007,
        Level = LogLevel.Critical,
        Message = "The engine's outputs cannot be read; this is a bug of this worker"
    )]
    private static partial void LogLoopFailed(ILogger logger, Exception exception);
}
