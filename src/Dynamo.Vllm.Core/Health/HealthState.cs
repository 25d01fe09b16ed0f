using System.Collections.Immutable;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Core.Health;

/// <summary>Readiness and liveness of this process, from what its parts
/// report (runtime.md, 4.2). Thread-safe; nothing here waits.</summary>
public sealed class HealthState
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, EndpointHealth> _endpoints = [];
    private readonly bool _canaryEnabled;
    private readonly bool _startsReady;
    private readonly TimeProvider _time;
    private readonly long _started;
    private volatile ImmutableList<Func<string?>> _hindrances = [];
    private string? _fault;
    private string? _suspicion;
    private bool _isHeld;

    /// <param name="canaryEnabled">Endpoints with a payload must prove themselves.</param>
    /// <param name="startsReady">Status of a process none of whose endpoints has a payload.</param>
    /// <param name="time">Clock.</param>
    public HealthState(bool canaryEnabled, bool startsReady, TimeProvider time)
    {
        _canaryEnabled = canaryEnabled;
        _startsReady = startsReady;
        _time = time;
        _started = time.GetTimestamp();
    }

    public TimeSpan Uptime => _time.GetElapsedTime(_started);

    /// <summary>Why the engine cannot work, or null. Makes the process neither ready nor live.</summary>
    public string? Fault
    {
        get
        {
            lock (_lock)
            {
                return _fault;
            }
        }
        set
        {
            lock (_lock)
            {
                _fault = value;
            }
        }
    }

    /// <summary>Why the engine is believed not to work at the moment, or null. Makes the process not ready.</summary>
    public string? Suspicion
    {
        get
        {
            lock (_lock)
            {
                return _suspicion;
            }
        }
        set
        {
            lock (_lock)
            {
                _suspicion = value;
            }
        }
    }

    /// <summary>Something outside of this process that keeps callers from it, asked for at each probe.</summary>
    /// <param name="hindrance">What is wrong, or null. Never waits.</param>
    public void AddHindrance(Func<string?> hindrance)
    {
        lock (_lock)
        {
            _hindrances = _hindrances.Add(hindrance);
        }
    }

    /// <summary>Forces not ready while the worker starts or leaves.</summary>
    public void Hold(bool isHeld)
    {
        lock (_lock)
        {
            _isHeld = isHeld;
        }
    }

    /// <summary>An endpoint takes requests. It is ready unless it must prove itself first.</summary>
    public void AddEndpoint(string name, bool hasPayload)
    {
        lock (_lock)
        {
            _endpoints[name] = new EndpointHealth(hasPayload, !(hasPayload && _canaryEnabled));
        }
    }

    /// <summary>What a probe or a real response showed.</summary>
    public void Report(string name, bool isReady)
    {
        lock (_lock)
        {
            if (_endpoints.TryGetValue(name, out var endpoint))
            {
                _endpoints[name] = endpoint with { IsReady = isReady };
            }
        }
    }

    /// <summary>Serves, and nothing keeps callers from it.</summary>
    public bool IsReady => IsReadyItself && Hindrance is null;

    /// <summary>What outside of this process keeps callers from it, or null.</summary>
    public string? Hindrance => _hindrances.Select(hindrance => hindrance()).FirstOrDefault(problem => problem is not null);

    /// <summary>Ready as far as it lies with this process: what a restart may mend.</summary>
    public bool IsReadyItself
    {
        get
        {
            lock (_lock)
            {
                return ComputeReady();
            }
        }
    }

    /// <summary>The process works, even if it is not ready yet. False asks the supervisor for a restart.</summary>
    public bool IsLive => Fault is null;

    /// <summary>The body of <c>/health</c> and <c>/live</c>.</summary>
    public JsonObject ToJson(bool isOk)
    {
        var uptime = Uptime;
        lock (_lock)
        {
            return new JsonObject
            {
                ["status"] = isOk ? "ready" : "notready",
                ["uptime"] = new JsonObject
                {
                    ["secs"] = (long)uptime.TotalSeconds,
                    ["nanos"] = uptime.Ticks % TimeSpan.TicksPerSecond * TimeSpan.NanosecondsPerTick,
                },
                ["endpoints"] = new JsonObject(
                    _endpoints.Select(pair =>
                        KeyValuePair.Create(pair.Key, (JsonNode?)JsonValue.Create(pair.Value.IsReady ? "ready" : "notready"))
                    )
                ),
            };
        }
    }

    private bool ComputeReady()
    {
        if (_isHeld || _fault is not null || _suspicion is not null)
        {
            return false;
        }

        var withPayload = _endpoints.Values.Where(endpoint => endpoint.HasPayload).ToList();
        if (withPayload.Count > 0)
        {
            return withPayload.TrueForAll(endpoint => endpoint.IsReady);
        }

        return _canaryEnabled && _endpoints.Count > 0 ? _endpoints.Values.All(endpoint => endpoint.IsReady) : _startsReady;
    }

    private readonly record struct EndpointHealth(bool HasPayload, bool IsReady);
}
