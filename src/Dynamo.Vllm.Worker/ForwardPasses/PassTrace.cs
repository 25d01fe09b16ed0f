using System.Buffers;
using System.Text.Json;
using System.Threading.Channels;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.ForwardPasses;
using Prometheus;

namespace Dynamo.Vllm.Worker.ForwardPasses;

/// <summary>Writes the engine's forward passes into trace files, as <c>--fpm-trace</c> asks for.</summary>
/// <remarks>
/// The relay only leaves a copy of a pass here: of each rank the last one, or with <see cref="PassTraceOptions.IsFull"/> in a queue that
/// drops its oldest. One loop encodes, compresses and waits for the disk. A trace that cannot be written costs nothing but itself: what
/// became of each pass is counted, and one line says when it begins to fail and when it works again.
/// </remarks>
internal sealed partial class PassTrace : IForwardPassListener
{
    private const int QueuedMax = 4096;

    /// <summary>Between looks at the queue, which must not fill up in between.</summary>
    private static readonly TimeSpan FullInterval = TimeSpan.FromMilliseconds(250);

    /// <summary>Between flushes where every pass is written: what a crash may lose.</summary>
    private static readonly TimeSpan FlushInterval = TimeSpan.FromSeconds(1);

    private readonly PassTraceOptions _options;
    private readonly EndpointId _endpoint;
    private readonly string _producer;
    private readonly TimeProvider _time;
    private readonly ILogger<PassTrace> _logger;
    private readonly PassTraceFiles _files;
    private readonly Channel<ObservedPass> _queue;
    private readonly Lock _lock = new();
    private readonly Dictionary<int, ObservedPass> _latest = [];
    private readonly Counter.Child _written;
    private readonly Counter.Child _failed;
    private readonly Counter.Child _dropped;
    private readonly Counter.Child _malformed;
    private readonly long _begun;
    private long _flushed;
    private bool _isFailing;
    private bool _hasSaidMalformed;

    /// <param name="options">Where, how much, how often.</param>
    /// <param name="endpoint">Named as the source in each line.</param>
    /// <param name="producer">Tells the files of this process from those of others.</param>
    /// <param name="registry">For the counter.</param>
    /// <param name="time">Clock.</param>
    /// <param name="logger">Log.</param>
    public PassTrace(
        PassTraceOptions options,
        EndpointId endpoint,
        string producer,
        CollectorRegistry registry,
        TimeProvider time,
        ILogger<PassTrace> logger
    )
    {
        _options = options;
        _endpoint = endpoint;
        _producer = producer;
        _time = time;
        _logger = logger;
        _files = new PassTraceFiles(options, producer);
        var passes = Metrics
            .WithCustomRegistry(registry)
            .CreateCounter("dynamo_vllm_traced_passes_total", "Forward passes for the trace files, by what became of them", "outcome");
        _written = passes.WithLabels("written");
        _failed = passes.WithLabels("failed");
        _dropped = passes.WithLabels("dropped");
        _malformed = passes.WithLabels("malformed");
        // The newest are worth more: a trace with a hole goes on.
        _queue = Channel.CreateBounded<ObservedPass>(
            new BoundedChannelOptions(QueuedMax) { SingleReader = true, FullMode = BoundedChannelFullMode.DropOldest },
            _ => _dropped.Inc()
        );
        _begun = _flushed = time.GetTimestamp();
    }

    public void Observe(int rank, ReadOnlySpan<byte> payload)
    {
        if (payload.Length > ForwardPassPayload.BytesMax)
        {
            _dropped.Inc();
            return;
        }

        var pass = new ObservedPass(payload.ToArray(), _time.GetUtcNow());
        if (_options.IsFull)
        {
            _queue.Writer.TryWrite(pass);
            return;
        }

        lock (_lock)
        {
            _latest[rank] = pass;
        }
    }

    /// <summary>Writes until it is told to stop, and then what is left.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        if (!TryBegin())
        {
            return;
        }

        using var timer = new PeriodicTimer(_options.IsFull ? FullInterval : _options.Interval, _time);
        try
        {
            while (await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false))
            {
                Write();
                if (!_options.IsFull || _time.GetElapsedTime(_flushed) >= FlushInterval)
                {
                    Flush();
                }
            }
        }
        finally
        {
            Write();
            Flush();
        }
    }

    /// <summary>As in the reference a worker serves without its trace.</summary>
    private bool TryBegin()
    {
        try
        {
            _files.Probe();
            LogBegin(_logger, _options.Path, _producer, Mode, _options.FilesMax);
            return true;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            LogNoTrace(_logger, _options.Path, exception.Message);
            return false;
        }
    }

    private string Mode => _options.IsFull ? "full" : "sampled";

    private void Write()
    {
        if (!_options.IsFull)
        {
            foreach (var pass in TakeLatest())
            {
                Write(pass);
            }
        }

        for (var left = QueuedMax; left > 0 && _queue.Reader.TryRead(out var pass); left--)
        {
            Write(pass);
        }
    }

    private ObservedPass[] TakeLatest()
    {
        lock (_lock)
        {
            ObservedPass[] taken = [.. _latest.OrderBy(entry => entry.Key).Select(entry => entry.Value)];
            _latest.Clear();
            return taken;
        }
    }

    private void Write(ObservedPass pass)
    {
        if (ForwardPassPayload.TryRead(pass.Payload, out var json, out var problem))
        {
            _files.Add(Line(pass, json.Span));
            return;
        }

        _malformed.Inc();
        if (!_hasSaidMalformed)
        {
            _hasSaidMalformed = true;
            LogMalformed(_logger, problem!);
        }
    }

    /// <summary>timestamp: milliseconds since the trace began; observed_at_unix_ms: when the pass was heard of.</summary>
    private ReadOnlySpan<byte> Line(ObservedPass pass, ReadOnlySpan<byte> payload)
    {
        var buffer = new ArrayBufferWriter<byte>(payload.Length + 512);
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteNumber("timestamp"u8, (long)_time.GetElapsedTime(_begun).TotalMilliseconds);
            json.WriteStartObject("event"u8);
            json.WriteString("schema"u8, "dynamo.fpm.trace.v1"u8);
            json.WriteStartObject("source"u8);
            json.WriteString("namespace"u8, _endpoint.Namespace);
            json.WriteString("component"u8, _endpoint.Component);
            json.WriteString("producer_id"u8, _producer);
            json.WriteEndObject();
            json.WriteString("capture_mode"u8, Mode);
            json.WriteNumber("observed_at_unix_ms"u8, pass.At.ToUnixTimeMilliseconds());
            json.WritePropertyName("fpm"u8);
            json.WriteRawValue(payload, skipInputValidation: true);
            json.WriteEndObject();
            json.WriteEndObject();
        }

        buffer.Write("\n"u8);
        return buffer.WrittenSpan;
    }

    private void Flush()
    {
        _flushed = _time.GetTimestamp();
        _files.Flush();
        _written.IncTo(_files.Written);
        _failed.IncTo(_files.Lost);
        var isFailing = _files.Problem is not null;
        if (isFailing && !_isFailing)
        {
            LogFailed(_logger, _options.Path, _files.Problem!);
        }
        else if (!isFailing && _isFailing)
        {
            LogAgain(_logger, _options.Path);
        }

        _isFailing = isFailing;
    }

    [LoggerMessage(
        EventId = 5150,
        Level = LogLevel.Information,
        Message = "Forward passes are traced into {Path}.{Producer}.*.jsonl.gz ({Mode}, {Files} files at most)"
    )]
    private static partial void LogBegin(ILogger logger, string path, string producer, string mode, int files);

    [LoggerMessage(
        EventId = 5151,
        Level = LogLevel.Warning,
        Message = "FPM trace initialization failed; continuing without local persistence: no file can be written at {Path}: {Problem}"
    )]
    private static partial void LogNoTrace(ILogger logger, string path, string problem);

    [LoggerMessage(
        EventId = 5152,
        Level = LogLevel.Warning,
        Message = "Forward passes cannot be traced into {Path}: {Problem}. These are lost; it is said when it works again"
    )]
    private static partial void LogFailed(ILogger logger, string path, string problem);

    [LoggerMessage(EventId = 5153, Level = LogLevel.Information, Message = "Forward passes are traced into {Path} again")]
    private static partial void LogAgain(ILogger logger, string path);

    [LoggerMessage(
        EventId = 5154,
        Level = LogLevel.Warning,
        Message = "A forward pass is not traced: {Problem}. Further ones are only counted (dynamo_vllm_traced_passes_total)"
    )]
    private static partial void LogMalformed(ILogger logger, string problem);

    private readonly record struct ObservedPass(byte[] Payload, DateTimeOffset At);
}
