using System.Collections.Concurrent;
using System.Text.Json;
using System.Threading.Channels;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Control;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Python.Interpreter;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Engine.Guest;

/// <summary>The delivery loop: reads the guest's batches and gives each record to whom it belongs.</summary>
internal sealed partial class GuestDelivery
{
    private readonly EngineStreams _streams;
    private readonly PendingEncodes _encodes;
    private readonly GuestCalls _calls;
    private readonly LoadListeners _load;
    private readonly StepCounter _steps;
    private readonly Action<GuestTemplate> _onTemplate;
    private readonly Action<string> _onEngineDeath;
    private readonly ILoggerFactory _loggers;
    private readonly ILogger _logger;
    private readonly ConcurrentDictionary<string, ILogger> _pythonLoggers = new();
    private volatile FetchProgress? _fetched;

    public GuestDelivery(
        EngineStreams streams,
        PendingEncodes encodes,
        GuestCalls calls,
        LoadListeners load,
        StepCounter steps,
        Action<GuestTemplate> onTemplate,
        Action<string> onEngineDeath,
        ILoggerFactory loggers,
        ILogger logger
    )
    {
        _streams = streams;
        _encodes = encodes;
        _calls = calls;
        _load = load;
        _steps = steps;
        _onTemplate = onTemplate;
        _onEngineDeath = onEngineDeath;
        _loggers = loggers;
        _logger = logger;
    }

    public FetchProgress? Fetched => _fetched;

    /// <summary>Runs until the guest has ended.</summary>
    public async Task RunAsync(ChannelReader<GuestBatch> batches)
    {
        while (await batches.WaitToReadAsync().ConfigureAwait(false))
        {
            while (batches.TryRead(out var batch))
            {
                Deliver(batch);
            }
        }
    }

    private void Deliver(GuestBatch batch)
    {
        try
        {
            var reader = new GuestRecordReader(batch.Span);
            while (!reader.End)
            {
                Deliver(ref reader);
            }
        }
        catch (Exception exception)
        {
            // A broken invariant of the border: what follows in the batch is lost, so the streams cannot be right any more.
            LogBrokenBatch(_logger, exception);
            _onEngineDeath("a batch of the interpreter was not readable");
        }
        finally
        {
            batch.Dispose();
            _streams.Wake();
        }
    }

    private void Deliver(ref GuestRecordReader reader)
    {
        switch (reader.ReadKind())
        {
            case GuestRecordKind.Tokens:
                var record = reader.ReadTokens();
                _streams.Deliver(record);
                if (record.Finish != FinishReason.Abort)
                {
                    _steps.Count(); // an abort is answered by vLLM's front end alone
                }

                break;
            case GuestRecordKind.Step:
                foreach (var tokens in reader.ReadStep())
                {
                    _streams.Deliver(tokens);
                }

                _steps.Count();
                break;
            case GuestRecordKind.Stats:
                var (load, sampledAt) = reader.ReadStats();
                _steps.Count();
                _load.Notify(load, sampledAt);
                break;
            case GuestRecordKind.Vectors:
                var (request, vectors) = reader.ReadVectors();
                _steps.Count();
                _encodes.Complete(request, vectors);
                break;
            case GuestRecordKind.TokenText:
                var (token, text) = reader.ReadTokenText();
                _streams.SetText(token, text);
                break;
            case GuestRecordKind.Failure:
                DeliverFailure(reader.ReadText());
                break;
            case GuestRecordKind.Reply:
                DeliverReply(reader.ReadText());
                break;
            case GuestRecordKind.Log:
                DeliverLog(reader.ReadLog());
                break;
            case GuestRecordKind.Progress:
                _fetched = reader.ReadProgress();
                break;
            case GuestRecordKind.Template:
                _onTemplate(reader.ReadTemplate());
                break;
            default:
                throw new InvalidOperationException($"unknown record kind {(byte)reader.ReadKind()}");
        }
    }

    private void DeliverFailure((ulong Id, bool Ok, byte[] Json) record)
    {
        using var document = JsonDocument.Parse(record.Json);
        if (_streams.TryRemove(record.Id, out var stream))
        {
            stream.Fail(FailureMapping.ToError(document.RootElement));
        }
        else
        {
            _encodes.Fail(record.Id, FailureMapping.ToEncodeError(document.RootElement));
        }

        NoticeDeath(document.RootElement);
    }

    private void DeliverReply((ulong Id, bool Ok, byte[] Json) record)
    {
        using var document = JsonDocument.Parse(record.Json);
        if (record.Ok)
        {
            _calls.Answer(record.Id, document.RootElement.Clone());
            return;
        }

        _calls.Fail(record.Id, FailureMapping.ToException(document.RootElement));
        NoticeDeath(document.RootElement);
    }

    private void NoticeDeath(JsonElement failure)
    {
        if (FailureMapping.IsEngineDeath(failure))
        {
            _onEngineDeath("EngineCore has died: " + failure.GetProperty("message").GetString());
        }
    }

    private void DeliverLog((int Level, string Name, string Message) record)
    {
        var logger = _pythonLoggers.GetOrAdd(record.Name, _loggers.CreateLogger);
        var level = record.Level switch
        {
            <= 1 => LogLevel.Debug,
            2 => LogLevel.Information,
            3 => LogLevel.Warning,
            4 => LogLevel.Error,
            _ => LogLevel.Critical,
        };
        LogPython(logger, level, record.Message);
    }

    [LoggerMessage(EventId = 4001, Message = "{PythonMessage}")]
    private static partial void LogPython(ILogger logger, LogLevel level, string pythonMessage);

    [LoggerMessage(
        EventId = 4003,
        Level = LogLevel.Critical,
        Message = "A batch of the interpreter is not readable; this is a bug of this worker"
    )]
    private static partial void LogBrokenBatch(ILogger logger, Exception exception);
}
