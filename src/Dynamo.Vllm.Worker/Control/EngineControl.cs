using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Health.Stalls;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Transports.SystemServer;

namespace Dynamo.Vllm.Worker.Control;

/// <summary>The control calls of the system server (behaviour.md, 5). Words and shapes are the reference's.</summary>
/// <remarks>Golden file: captures/agg/engine-routes.txt. Sleep and wake run one at a time.</remarks>
internal sealed class EngineControl
{
    private readonly IEngine _engine;
    private readonly WorkerRegistration _registration;
    private readonly ServedEndpoint _generate;
    private readonly StallWatch _stalls;
    private readonly Func<IReadOnlyList<string>, CancellationToken, Task> _setTaints;
    private readonly SemaphoreSlim _pauseTurn = new(1, 1);
    private bool _isAsleep;
    private bool _needsWakeUp;
    private string? _weightVersion;

    public EngineControl(
        IEngine engine, WorkerRegistration registration, ServedEndpoint generate, StallWatch stalls,
        Func<IReadOnlyList<string>, CancellationToken, Task> setTaints)
    {
        _engine = engine;
        _registration = registration;
        _generate = generate;
        _stalls = stalls;
        _setTaints = setTaints;
    }

    public void AddTo(EngineRoutes routes)
    {
        Add(routes, "control/sleep", SleepAsync);
        Add(routes, "control/wake_up", WakeUpAsync);
        Add(routes, "control/start_profile", (body, cancellation) =>
            CallAsync("start_profile", new JsonObject { ["profile_prefix"] = body["profile_prefix"]?.DeepClone() }, "Profiling started", cancellation));
        Add(routes, "control/stop_profile", (_, cancellation) => CallAsync("stop_profile", null, "Profiling stopped", cancellation));
        Add(routes, "liveness_probe", LivenessAsync);
        Add(routes, "pause_generation", PauseAsync);
        Add(routes, "resume_generation", ResumeAsync);
        Add(routes, "flush_cache", (_, cancellation) => CallAsync("reset_prefix_cache", null, "Cache flushed", cancellation));
        Add(routes, "get_weight_version", (_, _) => Task.FromResult(new JsonObject
        {
            ["status"] = "ok",
            ["version"] = _weightVersion,
            ["version_declared"] = _weightVersion is not null,
        }));
        Add(routes, "set_weight_version", SetWeightVersionAsync);
        Add(routes, "update_weights_from_tensor", (_, _) => Task.FromResult(Failure("update_weights_from_tensor is not implemented")));
        routes.Add("update/model_taints", SetTaintsAsync);
    }

    private void Add(EngineRoutes routes, string path, Func<JsonObject, CancellationToken, Task<JsonObject>> handler) =>
        routes.Add(path, async (body, cancellation) =>
        {
            if (body is not JsonObject request)
            {
                return Failure("request body must be a JSON object");
            }

            try
            {
                using var silence = _stalls.Expect();
                return await handler(request, cancellation).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is EngineCallException or WorkerLeavingException)
            {
                return Failure(exception.Message);
            }
        });

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
        var level = body["level"]?.GetValue<int>() ?? 1;
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
    private async Task<JsonObject> FallAsleepAsync(int level)
    {
        try
        {
            _needsWakeUp = true;
            await _engine.CallAsync("pause", null, CancellationToken.None).ConfigureAwait(false);
            await _engine.CallAsync("sleep", new JsonObject { ["level"] = level }, CancellationToken.None).ConfigureAwait(false);
            _isAsleep = true;
            _needsWakeUp = false;
            return Success($"Engine slept (level={level})");
        }
        catch (EngineCallException failure)
        {
            try
            {
                await _engine.CallAsync("resume", null, CancellationToken.None).ConfigureAwait(false);
                await _registration.ShowAsync(_generate, HiddenReasons.Asleep, CancellationToken.None).ConfigureAwait(false);
                _needsWakeUp = false;
            }
            catch (Exception exception) when (exception is EngineCallException or IOException or WorkerLeavingException)
            {
                // Half asleep, or awake and invisible: wake_up is still owed.
            }

            return Failure(failure.Message);
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

            await _engine.CallAsync("wake_up", new JsonObject { ["tags"] = body["tags"]?.DeepClone() }, CancellationToken.None).ConfigureAwait(false);
            await _engine.CallAsync("resume", null, CancellationToken.None).ConfigureAwait(false);
            await _registration.ShowAsync(_generate, HiddenReasons.Asleep, CancellationToken.None).ConfigureAwait(false); // a leaving worker stays away
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
        var mode = body["mode"]?.GetValue<string>() ?? "keep";
        if (mode is not ("keep" or "wait" or "abort"))
        {
            return Failure($"Invalid mode '{mode}'; expected keep|wait|abort");
        }

        RefuseWhileLeaving();
        var clear = body["clear_cache"]?.GetValue<bool>() ?? false;
        await _engine.CallAsync("pause", new JsonObject { ["mode"] = mode, ["clear_cache"] = clear }, CancellationToken.None).ConfigureAwait(false);
        return new JsonObject { ["status"] = "ok", ["message"] = "Engine paused", ["mode"] = mode, ["clear_cache"] = clear };
    }

    private async Task<JsonObject> ResumeAsync(JsonObject body, CancellationToken cancellationToken)
    {
        await _engine.CallAsync("resume", null, cancellationToken).ConfigureAwait(false);
        return Success("Engine resumed");
    }

    private async Task<JsonObject> LivenessAsync(JsonObject body, CancellationToken cancellationToken)
    {
        await _engine.CallAsync("check_health", null, cancellationToken).ConfigureAwait(false);
        return new JsonObject { ["status"] = "ok", ["alive"] = true };
    }

    private Task<JsonObject> SetWeightVersionAsync(JsonObject body, CancellationToken cancellationToken)
    {
        if (body["weight_version"] is not { } version)
        {
            return Task.FromResult(Failure("Missing 'weight_version' in body"));
        }

        _weightVersion = version.GetValueKind() == JsonValueKind.String ? version.GetValue<string>() : version.ToJsonString();
        return Task.FromResult(new JsonObject { ["status"] = "ok", ["version"] = _weightVersion });
    }

    private async Task<JsonObject> SetTaintsAsync(JsonNode? body, CancellationToken cancellationToken)
    {
        const string reserved = "dynamo.topology/";
        if (body?["taints"] is not JsonArray array || array.Any(taint => taint?.GetValueKind() != JsonValueKind.String))
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

    private async Task<JsonObject> CallAsync(string method, JsonObject? arguments, string done, CancellationToken cancellationToken)
    {
        await _engine.CallAsync(method, arguments, cancellationToken).ConfigureAwait(false);
        return Success(done);
    }

    private static JsonObject Success(string message) => new() { ["status"] = "ok", ["message"] = message };

    private static JsonObject Failure(string message) => new() { ["status"] = "error", ["message"] = message };
}
