using System.Text.Json;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Guest;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Python.Interpreter;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Engine;

public sealed partial class VllmEngine
{
    // Delivery loop only.
    private readonly List<EngineStream> _woken = [];

    private async Task DeliverAsync()
    {
        var batches = _host.Batches;
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
            Die("a batch of the interpreter was not readable");
        }
        finally
        {
            batch.Dispose();
            // Only now: a busy engine puts several steps into one batch, and their tokens leave in one item each instead of one by one.
            foreach (var stream in _woken)
            {
                stream.Wake();
            }

            _woken.Clear();
        }
    }

    private void Deliver(ref GuestRecordReader reader)
    {
        switch (reader.ReadKind())
        {
            case GuestRecordKind.Tokens:
                var record = reader.ReadTokens();
                Deliver(record);
                if (record.Finish != FinishReason.Abort)
                {
                    Volatile.Write(ref _steps, _steps + 1); // an abort is answered by vLLM's front end alone
                }

                break;
            case GuestRecordKind.Step:
                foreach (var tokens in reader.ReadStep())
                {
                    Deliver(tokens);
                }

                Volatile.Write(ref _steps, _steps + 1);
                break;
            case GuestRecordKind.Stats:
                var (load, _, _) = reader.ReadStats();
                Volatile.Write(ref _steps, _steps + 1);
                LoadChanged?.Invoke(load);
                break;
            case GuestRecordKind.TokenText:
                var (token, text) = reader.ReadTokenText();
                _texts.Set(token, text);
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
            default:
                throw new InvalidOperationException($"unknown record kind {(byte)reader.ReadKind()}");
        }
    }

    private void Deliver(in TokensRecord record)
    {
        if (!_streams.TryGetValue(record.Stream, out var stream))
        {
            return; // given up meanwhile
        }

        if (stream.Deliver(record, _texts, out var wakes))
        {
            _streams.TryRemove(record.Stream, out _);
        }

        if (wakes)
        {
            _woken.Add(stream);
        }
    }

    private void DeliverFailure((ulong Id, bool Ok, byte[] Json) record)
    {
        using var document = JsonDocument.Parse(record.Json);
        if (_streams.TryRemove(record.Id, out var stream))
        {
            stream.Fail(FailureMapping.ToError(document.RootElement));
        }

        if (FailureMapping.IsEngineDeath(document.RootElement))
        {
            Die("EngineCore has died: " + document.RootElement.GetProperty("message").GetString());
        }
    }

    private void DeliverReply((ulong Id, bool Ok, byte[] Json) record)
    {
        if (!_calls.TryRemove(record.Id, out var call))
        {
            return; // the caller gave up
        }

        using var document = JsonDocument.Parse(record.Json);
        if (record.Ok)
        {
            call.Answer.TrySetResult(document.RootElement.Clone());
            return;
        }

        call.Answer.TrySetException(FailureMapping.ToException(document.RootElement));
        if (FailureMapping.IsEngineDeath(document.RootElement))
        {
            Die("EngineCore has died: " + document.RootElement.GetProperty("message").GetString());
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
}
