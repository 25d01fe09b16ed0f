using System.Text.Json;
using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.Engine.Direct;

/// <summary>What vLLM's loggers would have been told of the steps since the last report, added up.</summary>
/// <remarks><c>direct.py</c> hands it to them. Not thread-safe: its owner locks.</remarks>
internal sealed class StepStatistics
{
    /// <summary>Entries at which a report is due at once, whatever its age.</summary>
    private const int EntriesMax = 8192;

    /// <summary>Entries at which it is given up: the interpreter has not read for long, and they must not fill the memory.</summary>
    private const int EntriesBound = 16 * EntriesMax;

    private readonly List<double> _firstTokenTimes = [];
    private readonly List<(double Value, int Count)> _tokenTimes = [];
    private readonly List<(double Value, int Count)> _iterations = [];
    private readonly List<FinishedRequest> _finished = [];
    private SchedulerSample? _scheduler;
    private double _sampledAt;
    private PrefixCacheCounts _prefixCache;
    private PrefixCacheCounts? _connectorCache;
    private PrefillCounts _prefill;
    private long _generated;
    private int _preempted;

    public bool IsEmpty => _scheduler is null && _iterations.Count == 0;

    public bool IsFull => Entries >= EntriesMax;

    public bool IsAtBound => Entries >= EntriesBound;

    private int Entries => _firstTokenTimes.Count + _tokenTimes.Count + _iterations.Count + _finished.Count;

    /// <summary>A step, as <c>IterationStats</c> of vLLM counts it.</summary>
    /// <param name="step">The next one.</param>
    /// <param name="now">Unix time in seconds.</param>
    public void Add(in EngineStep step, double now)
    {
        if (step.Scheduler is { } sample)
        {
            _scheduler = sample;
            _sampledAt = step.Timestamp;
            _prefixCache += sample.PrefixCache;
            if (sample.ConnectorCache is { } connector)
            {
                _connectorCache = (_connectorCache ?? default) + connector;
            }
        }

        if (!step.HasOutputs)
        {
            return;
        }

        long generated = 0;
        long computed = 0;
        foreach (var share in step.Shares)
        {
            generated += share.Tokens;
            computed += share.Prefill.Computed;
            _prefill += share.Prefill;
            _preempted += share.Preemptions;
            AddTimes(share.Request, step.Timestamp, now);
            share.Request.GeneratedTokens += share.Tokens;
            if (share.Finish != FinishReason.None)
            {
                _finished.Add(FinishedRequest.Of(share.Request, share.Finish, now));
            }
        }

        _generated += generated;
        Count(_iterations, computed + generated);
    }

    /// <summary>Writes what has been added up, and forgets it with <see cref="Clear"/>.</summary>
    /// <param name="json">Gets an object.</param>
    /// <param name="now">Unix time in seconds.</param>
    public void Write(Utf8JsonWriter json, double now)
    {
        json.WriteStartObject();
        json.WriteNumber("time"u8, now);
        json.WriteNumber("generated"u8, _generated);
        json.WriteNumber("preempted"u8, _preempted);
        WriteNumbers(
            json,
            "prefill"u8,
            [_prefill.Prompt, _prefill.Computed, _prefill.Cached, _prefill.LocalCached, _prefill.ExternalCached]
        );
        WriteTimes(json, "first_token_times"u8, _firstTokenTimes);
        WriteCounts(json, "token_times"u8, _tokenTimes);
        WriteCounts(json, "iterations"u8, _iterations);
        json.WriteStartArray("finished"u8);
        foreach (var request in _finished)
        {
            request.Write(json);
        }

        json.WriteEndArray();
        if (_scheduler is { } sample)
        {
            WriteScheduler(json, sample);
        }

        json.WriteEndObject();
    }

    public void Clear()
    {
        _firstTokenTimes.Clear();
        _tokenTimes.Clear();
        _iterations.Clear();
        _finished.Clear();
        _scheduler = null;
        _prefixCache = default;
        _connectorCache = null;
        _prefill = default;
        _generated = 0;
        _preempted = 0;
    }

    private void WriteScheduler(Utf8JsonWriter json, SchedulerSample sample)
    {
        json.WriteNumber("sampled_at"u8, _sampledAt);
        json.WriteStartObject("scheduler"u8);
        json.WriteNumber("num_running_reqs"u8, sample.Running);
        json.WriteNumber("num_waiting_reqs"u8, sample.Waiting);
        json.WriteNumber("num_skipped_waiting_reqs"u8, sample.Skipped);
        json.WriteNumber("kv_cache_usage"u8, sample.KvCacheUsage);
        json.WriteEndObject();
        _prefixCache.Write(json, "prefix_cache"u8);
        _connectorCache?.Write(json, "connector_cache"u8);
    }

    private void AddTimes(DirectRequest request, double timestamp, double now)
    {
        if (request.IsPrefilling)
        {
            request.IsPrefilling = false;
            request.FirstTokenAt = timestamp;
            _firstTokenTimes.Add(now - request.ArrivalTime);
        }
        else
        {
            Count(_tokenTimes, timestamp - request.LastTokenAt);
        }

        request.LastTokenAt = timestamp;
    }

    /// <summary>The requests of a step have waited equally long, but for those that were preempted.</summary>
    private static void Count(List<(double Value, int Count)> counts, double value)
    {
        if (counts.Count > 0 && counts[^1] is var (last, count) && last == value)
        {
            counts[^1] = (value, count + 1);
        }
        else
        {
            counts.Add((value, 1));
        }
    }

    private static void WriteNumbers(Utf8JsonWriter json, ReadOnlySpan<byte> name, ReadOnlySpan<long> numbers)
    {
        json.WriteStartArray(name);
        foreach (var number in numbers)
        {
            json.WriteNumberValue(number);
        }

        json.WriteEndArray();
    }

    private static void WriteTimes(Utf8JsonWriter json, ReadOnlySpan<byte> name, List<double> times)
    {
        json.WriteStartArray(name);
        foreach (var time in times)
        {
            json.WriteNumberValue(time);
        }

        json.WriteEndArray();
    }

    private static void WriteCounts(Utf8JsonWriter json, ReadOnlySpan<byte> name, List<(double Value, int Count)> counts)
    {
        json.WriteStartArray(name);
        foreach (var (value, count) in counts)
        {
            json.WriteStartArray();
            json.WriteNumberValue(value);
            json.WriteNumberValue(count);
            json.WriteEndArray();
        }

        json.WriteEndArray();
    }
}
