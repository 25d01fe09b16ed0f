using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Health.Stalls;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.Worker.Control;

/// <summary>The control calls of the system server (behaviour.md, 5). Words and shapes are the reference's.</summary>
/// <remarks>Golden file: tests/golden/worker/engine-routes.txt. Sleep and wake run one at a time.</remarks>
internal sealed class EngineControl
{
    private readonly IEngineControl _engine;
    private readonly WorkerRegistration _registration;
    private readonly ServedEndpoint _generate;
    private readonly ExpectedSilence _silence;
    private readonly AdapterTable? _adapters;
    private readonly Func<IReadOnlyList<string>, CancellationToken, Task> _setTaints;
    private readonly SemaphoreSlim _pauseTurn = new(1, 1);
    private bool _isAsleep;
    private bool _needsWakeUp;
    private JsonNode? _weightVersion;
    private bool _hasWeightVersion;

    public EngineControl(
        IEngineControl engine,
        WorkerRegistration registration,
        ServedEndpoint generate,
        ExpectedSilence silence,
        AdapterTable? adapters,
        Func<IReadOnlyList<string>, CancellationToken, Task> setTaints
    )
    {
        _engine = engine;
        _registration = registration;
        _generate = generate;
        _silence = silence;
        _adapters = adapters;
        _setTaints = setTaints;
    }

    public void AddTo(EngineRoutes routes)
    {
        Add(routes, "control/sleep", SleepAsync);
        Add(routes, "control/wake_up", WakeUpAsync);
        routes.Add("control/start_profile", StartProfileAsync);
        routes.Add(
            "control/stop_profile",
            (_, cancellation) => AnswerAsync(() => DoneAsync(_engine.StopProfileAsync(cancellation), "Profiling stopped"))
        );
        Add(routes, "liveness_probe", LivenessAsync);
        Add(routes, "pause_generation", PauseAsync);
        Add(routes, "resume_generation", ResumeAsync);
        Add(
            routes,
            "flush_cache",
            (_, cancellation) =>
                DoneAsync(_engine.ResetPrefixCacheAsync(resetConnector: false, resetRunningRequests: false, cancellation), "Cache flushed")
        );
        Add(
            routes,
            "get_weight_version",
            (_, _) =>
                Task.FromResult(
                    new JsonObject
                    {
                        ["status"] = "ok",
                        ["version"] = _weightVersion?.DeepClone(),
                        ["version_declared"] = _hasWeightVersion,
                    }
                )
        );
        Add(routes, "set_weight_version", SetWeightVersionAsync);
        Add(routes, "update_weights_from_tensor", (_, _) => Task.FromResult(Failure("update_weights_from_tensor is not implemented")));
        AddTaintsTo(routes);
    }

    /// <summary>All that a worker has which does not generate.</summary>
    public void AddTaintsTo(EngineRoutes routes) => routes.Add("update/model_taints", SetTaintsAsync);

    /// <summary>A call whose body is an object; null stands for an empty one.</summary>
    private void Add(EngineRoutes routes, string path, Func<JsonObject, CancellationToken, Task<JsonObject>> handler) =>
        routes.Add(
            path,
            (body, cancellation) =>
                body is null or JsonObject
                    ? AnswerAsync(() => handler((JsonObject?)body ?? [], cancellation))
                    : Task.FromResult(Failure("request body must be a JSON object"))
        );

    /// <summary>What the engine could not do is an answer, too.</summary>
    private async Task<JsonObject> AnswerAsync(Func<Task<JsonObject>> call)
    {
        try
        {
            using var expected = _silence.Expect();
            return await call().ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is EngineCallException or WorkerLeavingException)
        {
            return Failure(exception.Message);
        }
    }

    /// <summary>What would stop requests that a leaving worker has still to finish is refused; what lets them go on is done.</summary>
    private void RefuseWhileLeaving()
    {
        if (_registration.IsLeaving)
        {
            throw new WorkerLeavingException();
        }
    }

    private async Task<JsonObject> SleepAsync(JsonObject body, CancellationToken cancellationToken)
    {
        // Of whatever type: the engine says what it cannot take. Null is its own default.
        var level = body.ContainsKey("level") ? body["level"] : JsonValue.Create(1);
        await _pauseTurn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_isAsleep)
            {
                return Success("Engine already sleeping");
            }

            if (_needsWakeUp)
            {
                return Failure("wake_up required before retrying sleep");
            }

            RefuseWhileLeaving();

            // Invisible first: a request that arrives while the engine goes down would wait until it wakes.
            await _registration.HideAsync(_generate, HiddenReasons.Asleep, cancellationToken).ConfigureAwait(false);
            return await FallAsleepAsync(level).ConfigureAwait(false);
        }
        finally
        {
            _pauseTurn.Release();
        }
    }

    // No token from here on: a client that gives up waiting must not leave an engine of which nobody knows whether it sleeps.
    private async Task<JsonObject> FallAsleepAsync(JsonNode? level)
    {
        try
        {
            _needsWakeUp = true;
            await _engine.PauseAsync(PauseMode.Abort, clearCache: true, CancellationToken.None).ConfigureAwait(false);
            await _engine.SleepAsync(level, CancellationToken.None).ConfigureAwait(false);
            _isAsleep = true;
            _needsWakeUp = false;
            return Success($"Engine slept (level={PythonValues.Show(level)})");
        }
        catch (Exception failure)
        {
            // Best-effort cleanup (style E3): a call that failed leaves neither the engine paused nor the worker invisible.
            await StayAwakeAsync().ConfigureAwait(false);
            if (failure is EngineCallException)
            {
                return Failure(failure.Message);
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
        await _pauseTurn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (!_isAsleep && !_needsWakeUp)
            {
                return Success("Engine already awake");
            }

            await _engine.WakeUpAsync(body["tags"], CancellationToken.None).ConfigureAwait(false);
            await _engine.ResumeAsync(CancellationToken.None).ConfigureAwait(false);
            // A leaving worker stays away.
            await _registration.ShowAsync(_generate, HiddenReasons.Asleep, CancellationToken.None).ConfigureAwait(false);
            _isAsleep = false;
            _needsWakeUp = false;
            return Success("Engine woke");
        }
        finally
        {
            _pauseTurn.Release();
        }
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
            return Failure($"Invalid mode '{word}'; expected keep|wait|abort");
        }

        RefuseWhileLeaving();
        var clear = PythonValues.IsTrue(body["clear_cache"]);
        if (_adapters?.Pause(keepsRequests: mode == PauseMode.Keep) is { Count: > 0 } used)
        {
            return Failure($"Cannot pause generation in keep mode with active LoRA requests: {string.Join(", ", used)}");
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
        await _engine.ResumeAsync(cancellationToken).ConfigureAwait(false);
        _adapters?.Resume();
        return Success("Engine resumed");
    }

    private async Task<JsonObject> LivenessAsync(JsonObject body, CancellationToken cancellationToken)
    {
        await _engine.CheckHealthAsync(cancellationToken).ConfigureAwait(false);
        return new JsonObject { ["status"] = "ok", ["alive"] = true };
    }

    private Task<JsonObject> SetWeightVersionAsync(JsonObject body, CancellationToken cancellationToken)
    {
        if (!body.TryGetPropertyValue("weight_version", out var version))
        {
            return Task.FromResult(Failure("Missing 'weight_version' in body"));
        }

        // Kept as it came: trainers compare it with what they set, number or text.
        (_weightVersion, _hasWeightVersion) = (version?.DeepClone(), true);
        return Task.FromResult(new JsonObject { ["status"] = "ok", ["version"] = version?.DeepClone() });
    }

    private Task<JsonObject> StartProfileAsync(JsonNode? body, CancellationToken cancellationToken) =>
        body is JsonObject request
            ? AnswerAsync(() => DoneAsync(_engine.StartProfileAsync(request["profile_prefix"], cancellationToken), "Profiling started"))
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
        return Success(done);
    }

    private static JsonObject Success(string message) => new() { ["status"] = "ok", ["message"] = message };

    private static JsonObject Failure(string message) => new() { ["status"] = "error", ["message"] = message };
}
