using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.Worker.Control;

/// <summary>The control calls of the system server (behaviour.md, 5). Words and shapes are the reference's.</summary>
/// <remarks>Golden file: tests/golden/worker/engine-routes.txt.</remarks>
internal sealed class EngineControl
{
    private readonly ControlCalls _calls;
    private readonly GenerationPause _pause;
    private readonly IEngineControl _engine;
    private readonly WorkerRegistration _registration;
    private readonly ServedEndpoint _generate;
    private readonly AdapterTable? _adapters;
    private readonly Func<IReadOnlyList<string>, CancellationToken, Task> _setTaints;
    private bool _needsWakeUp;

    public EngineControl(
        ControlCalls calls,
        GenerationPause pause,
        IEngineControl engine,
        WorkerRegistration registration,
        ServedEndpoint generate,
        AdapterTable? adapters,
        Func<IReadOnlyList<string>, CancellationToken, Task> setTaints
    )
    {
        _calls = calls;
        _pause = pause;
        _engine = engine;
        _registration = registration;
        _generate = generate;
        _adapters = adapters;
        _setTaints = setTaints;
    }

    public void AddCalls()
    {
        _calls.Add("control/sleep", SleepAsync);
        _calls.Add("control/wake_up", WakeUpAsync);
        _calls.AddAny("control/start_profile", StartProfileAsync);
        _calls.AddAny(
            "control/stop_profile",
            (_, cancellation) => _calls.AnswerAsync(() => DoneAsync(_engine.StopProfileAsync(cancellation), "Profiling stopped"))
        );
        _calls.Add("liveness_probe", LivenessAsync);
        _calls.Add("pause_generation", PauseAsync);
        _calls.Add("resume_generation", ResumeAsync);
        _calls.Add("flush_cache", FlushAsync);
        _calls.Add("abort_request", AbortAsync);
        AddTaints();
    }

    /// <summary>All that a worker has which does not generate.</summary>
    public void AddTaints() => _calls.AddAny("update/model_taints", SetTaintsAsync);

    private async Task<JsonObject> SleepAsync(JsonObject body, CancellationToken cancellationToken)
    {
        // Of whatever type: the engine says what it cannot take. Null is its own default.
        var level = body.ContainsKey("level") ? body["level"] : JsonValue.Create(1);
        using var turn = await _pause.EnterAsync(cancellationToken).ConfigureAwait(false);
        if (_pause.IsAsleep)
        {
            return ControlCalls.Success("Engine already sleeping");
        }

        if (_needsWakeUp)
        {
            return ControlCalls.Failure("wake_up required before retrying sleep");
        }

        _calls.RefuseWhileLeaving();

        // Invisible first: a request that arrives while the engine goes down would wait until it wakes.
        await _registration.HideAsync(_generate, HiddenReasons.Asleep, cancellationToken).ConfigureAwait(false);
        return await FallAsleepAsync(level).ConfigureAwait(false);
    }

    // No token from here on: a client that gives up waiting must not leave an engine of which nobody knows whether it sleeps.
    private async Task<JsonObject> FallAsleepAsync(JsonNode? level)
    {
        try
        {
            _needsWakeUp = true;
            await _engine.PauseAsync(PauseMode.Abort, clearCache: true, CancellationToken.None).ConfigureAwait(false);
            await _engine.SleepAsync(level, CancellationToken.None).ConfigureAwait(false);
            _pause.IsAsleep = true;
            _needsWakeUp = false;
            return ControlCalls.Success($"Engine slept (level={PythonValues.Show(level)})");
        }
        catch (Exception failure)
        {
            // Best-effort cleanup (style E3): a call that failed leaves neither the engine paused nor the worker invisible.
            await StayAwakeAsync().ConfigureAwait(false);
            if (failure is EngineCallException)
            {
                return ControlCalls.Failure(failure.Message);
            }

            throw;
        }
    }

    private async Task StayAwakeAsync()
    {
        try
        {
            await _engine.ResumeAsync(CancellationToken.None).ConfigureAwait(false);
            await _registration.ShowAsync(_generate, HiddenReasons.Asleep, CancellationToken.None).ConfigureAwait(false);
            _needsWakeUp = false;
        }
        catch (Exception exception) when (exception is EngineCallException or IOException or WorkerLeavingException)
        {
            // Half asleep, or awake and invisible: wake_up is still owed.
        }
    }

    private async Task<JsonObject> WakeUpAsync(JsonObject body, CancellationToken cancellationToken)
    {
        using var turn = await _pause.EnterAsync(cancellationToken).ConfigureAwait(false);
        if (!_pause.IsAsleep && !_needsWakeUp)
        {
            return ControlCalls.Success("Engine already awake");
        }

        await _engine.WakeUpAsync(body["tags"], CancellationToken.None).ConfigureAwait(false);
        await _engine.ResumeAsync(CancellationToken.None).ConfigureAwait(false);
        // A leaving worker stays away.
        await _registration.ShowAsync(_generate, HiddenReasons.Asleep, CancellationToken.None).ConfigureAwait(false);
        _pause.IsAsleep = false;
        _needsWakeUp = false;
        return ControlCalls.Success("Engine woke");
    }

    private async Task<JsonObject> PauseAsync(JsonObject body, CancellationToken cancellationToken)
    {
        var word = body.ContainsKey("mode") ? PythonValues.Show(body["mode"]) : "keep";
        PauseMode? asked = word switch
        {
            "keep" => PauseMode.Keep,
            "wait" => PauseMode.Wait,
            "abort" => PauseMode.Abort,
            _ => null,
        };
        if (asked is not { } mode)
        {
            return ControlCalls.Failure($"Invalid mode '{word}'; expected keep|wait|abort");
        }

        using var turn = await _pause.EnterAsync(cancellationToken).ConfigureAwait(false);
        _calls.RefuseWhileLeaving();
        var clear = PythonValues.IsTrue(body["clear_cache"]);
        if (_adapters?.Pause(keepsRequests: mode == PauseMode.Keep) is { Count: > 0 } used)
        {
            return ControlCalls.Failure($"Cannot pause generation in keep mode with active LoRA requests: {string.Join(", ", used)}");
        }

        try
        {
            await _engine.PauseAsync(mode, clear, CancellationToken.None).ConfigureAwait(false);
        }
        catch (EngineCallException)
        {
            _adapters?.Resume();
            throw;
        }

        _pause.IsPaused = true;
        return new JsonObject
        {
            ["status"] = "ok",
            ["message"] = "Engine paused",
            ["mode"] = word,
            ["clear_cache"] = clear,
        };
    }

    private async Task<JsonObject> ResumeAsync(JsonObject body, CancellationToken cancellationToken)
    {
        using var turn = await _pause.EnterAsync(cancellationToken).ConfigureAwait(false);
        if (_pause.Obstacle is { } obstacle)
        {
            return ControlCalls.Failure(obstacle);
        }

        await _engine.ResumeAsync(CancellationToken.None).ConfigureAwait(false);
        _pause.IsPaused = false;
        _adapters?.Resume();
        return ControlCalls.Success("Engine resumed");
    }

    private async Task<JsonObject> FlushAsync(JsonObject body, CancellationToken cancellationToken)
    {
        using var turn = await _pause.EnterAsync(cancellationToken).ConfigureAwait(false);
        await _engine.ResetPrefixCacheAsync(resetConnector: false, resetRunningRequests: false, cancellationToken).ConfigureAwait(false);
        return ControlCalls.Success("Cache flushed");
    }

    /// <summary>Where the engine must not be disturbed yet, it ends later; one that does not run is no mistake.</summary>
    private Task<JsonObject> AbortAsync(JsonObject body, CancellationToken cancellationToken)
    {
        var id = body["request_id"];
        if (!PythonValues.IsTrue(id))
        {
            return Task.FromResult(ControlCalls.Failure("Missing 'request_id' in body"));
        }

        if (id is not JsonValue value || !value.TryGetValue<string>(out var text))
        {
            var type = PythonValues.TypeName(id);
            return Task.FromResult(
                ControlCalls.Failure(id is JsonArray or JsonObject ? $"unhashable type: '{type}'" : $"'{type}' object is not iterable")
            );
        }

        _generate.Cancel(text, CancellationCause.Operator);
        return Task.FromResult(new JsonObject { ["status"] = "ok", ["request_id"] = text });
    }

    private async Task<JsonObject> LivenessAsync(JsonObject body, CancellationToken cancellationToken)
    {
        await _engine.CheckHealthAsync(cancellationToken).ConfigureAwait(false);
        return new JsonObject { ["status"] = "ok", ["alive"] = true };
    }

    private Task<JsonObject> StartProfileAsync(JsonNode? body, CancellationToken cancellationToken) =>
        body is JsonObject request
            ? _calls.AnswerAsync(() =>
                DoneAsync(_engine.StartProfileAsync(request["profile_prefix"], cancellationToken), "Profiling started")
            )
            : throw new EngineRouteException($"AttributeError: '{PythonValues.TypeName(body)}' object has no attribute 'get'");

    private async Task<JsonObject> SetTaintsAsync(JsonNode? body, CancellationToken cancellationToken)
    {
        const string reserved = "dynamo.topology/";
        if (body is not JsonObject request)
        {
            throw new EngineRouteException("ValueError: request body must be a JSON object");
        }

        if (request["taints"] is not JsonArray array || array.Any(taint => taint?.GetValueKind() != JsonValueKind.String))
        {
            throw new EngineRouteException("ValueError: 'taints' must be a JSON array of strings");
        }

        var taints = array.Select(taint => taint!.GetValue<string>()).Distinct().Order(StringComparer.Ordinal).ToList();
        if (taints.Find(taint => taint.StartsWith(reserved, StringComparison.Ordinal)) is { } wrong)
        {
            throw new EngineRouteException($"ValueError: taint '{wrong}' uses reserved prefix '{reserved}'");
        }

        await _setTaints(taints, cancellationToken).ConfigureAwait(false);
        return new JsonObject { ["status"] = "ok", ["taints"] = new JsonArray([.. taints.Select(taint => JsonValue.Create(taint))]) };
    }

    private static async Task<JsonObject> DoneAsync(Task call, string done)
    {
        await call.ConfigureAwait(false);
        return ControlCalls.Success(done);
    }
}
