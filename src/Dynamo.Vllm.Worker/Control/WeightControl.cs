using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.Worker.Control;

/// <summary>New weights for a running engine, as trainers ask for them (behaviour.md, 5). Words and shapes are the reference's.</summary>
/// <remarks>Once the engine was asked, no caller's token counts: half of the weights would be worse than waiting.</remarks>
internal sealed class WeightControl
{
    public const string GroupTimeoutVariable = "DYN_RL_INIT_WEIGHTS_TIMEOUT_S";

    private const string NotPaused =
        "Worker must be paused via pause_generation() before updating weights. Call pause_generation() first, then update, "
        + "then resume_generation().";

    /// <summary>What a distributed update keeps for itself; every other member is the engine's.</summary>
    private static readonly string[] OwnMembers = ["allow_unpaused", "engine_rpc", "reset_prefix_cache", "weight_version"];

    private readonly ControlCalls _calls;
    private readonly GenerationPause _pause;
    private readonly IEngineControl _engine;
    private readonly string? _groupTimeout;
    private readonly Action<string> _fail;
    private readonly TimeProvider _time;
    private JsonNode? _version;
    private bool _hasVersion;

    /// <param name="calls">Where the calls are added.</param>
    /// <param name="pause">Weights change while it is on.</param>
    /// <param name="engine">Has the weights.</param>
    /// <param name="groupTimeout">Seconds, as the variable says; null for the default.</param>
    /// <param name="fail">Ends the worker, for the reason given.</param>
    /// <param name="time">Of the limit.</param>
    public WeightControl(
        ControlCalls calls,
        GenerationPause pause,
        IEngineControl engine,
        string? groupTimeout,
        Action<string> fail,
        TimeProvider time
    )
    {
        _calls = calls;
        _pause = pause;
        _engine = engine;
        _groupTimeout = groupTimeout;
        _fail = fail;
        _time = time;
    }

    public void AddCalls()
    {
        _calls.Add("update_weights_from_disk", FromDiskAsync);
        _calls.Add("update_weights_from_distributed", FromDistributedAsync);
        _calls.Add(
            "update_weights_from_tensor",
            (_, _) => Task.FromResult(ControlCalls.Failure("update_weights_from_tensor is not implemented"))
        );
        _calls.Add("init_weights_update_group", JoinGroupAsync);
        _calls.Add("destroy_weights_update_group", LeaveGroupAsync);
        _calls.Add(
            "get_weight_version",
            (_, _) =>
                Task.FromResult(
                    new JsonObject
                    {
                        ["status"] = "ok",
                        ["version"] = _version?.DeepClone(),
                        ["version_declared"] = _hasVersion,
                    }
                )
        );
        _calls.Add("set_weight_version", SetVersionAsync);
    }

    private async Task<JsonObject> FromDiskAsync(JsonObject body, CancellationToken cancellationToken)
    {
        const string reload = "reload_weights";
        using var turn = await _pause.EnterAsync(cancellationToken).ConfigureAwait(false);
        if (!_pause.IsPaused)
        {
            return ControlCalls.Failure(NotPaused);
        }

        var path = body["model_path"];
        if (!PythonValues.IsTrue(path))
        {
            return ControlCalls.Failure("Missing 'model_path' in body");
        }

        _calls.RefuseWhileLeaving();
        var method = Member(body, "engine_rpc", reload);
        var isReload = method?.GetValueKind() == JsonValueKind.String && method.GetValue<string>() == reload;
        var arguments = new JsonObject { [isReload ? "weights_path" : "weight_path"] = path!.DeepClone() };
        if (!isReload)
        {
            return await ChangeAsync(method, arguments, body, dropsCache: true).ConfigureAwait(false);
        }

        // vLLM takes the old weights away before it looks for the new ones.
        _pause.Obstacle =
            "The engine has no weights since update_weights_from_disk failed. Call it again with a checkpoint that can be loaded, "
            + "then resume_generation().";
        var answer = await ChangeAsync(method, arguments, body, dropsCache: true).ConfigureAwait(false);
        _pause.Obstacle = null;
        return answer;
    }

    private async Task<JsonObject> FromDistributedAsync(JsonObject body, CancellationToken cancellationToken)
    {
        if (Flag(body, "allow_unpaused", false) is not { } allowsUnpaused)
        {
            return ControlCalls.Failure("'allow_unpaused' must be a boolean");
        }

        if (Flag(body, "reset_prefix_cache", true) is not { } dropsCache)
        {
            return ControlCalls.Failure("'reset_prefix_cache' must be a boolean");
        }

        if (allowsUnpaused && dropsCache)
        {
            return ControlCalls.Failure(
                "Unpaused weight updates cannot reset the prefix cache. Set 'reset_prefix_cache' to false or pause generation first."
            );
        }

        using var turn = await _pause.EnterAsync(cancellationToken).ConfigureAwait(false);
        if (!_pause.IsPaused && !allowsUnpaused)
        {
            return ControlCalls.Failure(NotPaused);
        }

        _calls.RefuseWhileLeaving();
        return await ChangeAsync(Member(body, "engine_rpc", "update_weights_from_path"), Rest(body, OwnMembers), body, dropsCache)
            .ConfigureAwait(false);
    }

    /// <summary>Blocks of the old weights would answer for the new ones, so they go while nothing runs.</summary>
    private async Task<JsonObject> ChangeAsync(JsonNode? method, JsonObject arguments, JsonObject body, bool dropsCache)
    {
        await _engine.CallWorkersAsync(method, arguments, CancellationToken.None).ConfigureAwait(false);
        if (dropsCache)
        {
            await _engine
                .ResetPrefixCacheAsync(resetConnector: false, resetRunningRequests: false, CancellationToken.None)
                .ConfigureAwait(false);
        }

        var isNamed = body.TryGetPropertyValue("weight_version", out var version);
        if (isNamed)
        {
            (_version, _hasVersion) = (version?.DeepClone(), true);
        }

        return new JsonObject
        {
            ["status"] = "ok",
            ["version"] = isNamed ? version?.DeepClone() : "unknown",
            ["version_declared"] = isNamed,
        };
    }

    /// <summary>The others of the group may never come: past its limit the engine is stuck in the call, and nothing gets it out.</summary>
    private async Task<JsonObject> JoinGroupAsync(JsonObject body, CancellationToken cancellationToken)
    {
        using var turn = await _pause.EnterAsync(cancellationToken).ConfigureAwait(false);
        _calls.RefuseWhileLeaving();
        if (Limit() is not { } limit)
        {
            return ControlCalls.Failure($"could not convert string to float: {PythonValues.Represent(JsonValue.Create(_groupTimeout))}");
        }

        var method = Member(body, "engine_rpc", "init_broadcaster");
        try
        {
            await _engine
                .CallWorkersAsync(method, Rest(body, ["engine_rpc"]), CancellationToken.None)
                .WaitAsync(limit, _time, CancellationToken.None)
                .ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            var problem =
                $"init_weights_update_group timed out after {limit.TotalSeconds.ToString("0.0", CultureInfo.InvariantCulture)} seconds "
                + $"({GroupTimeoutVariable}): the engine may be stuck in it";
            _fail(problem);
            return ControlCalls.Failure(problem);
        }

        return ControlCalls.Success("Weight update group initialized");
    }

    private async Task<JsonObject> LeaveGroupAsync(JsonObject body, CancellationToken cancellationToken)
    {
        using var turn = await _pause.EnterAsync(cancellationToken).ConfigureAwait(false);
        await _engine
            .CallWorkersAsync(Member(body, "engine_rpc", "destroy_broadcaster"), Rest(body, ["engine_rpc"]), CancellationToken.None)
            .ConfigureAwait(false);
        return ControlCalls.Success("Weight update group destroyed");
    }

    private Task<JsonObject> SetVersionAsync(JsonObject body, CancellationToken cancellationToken)
    {
        if (!body.TryGetPropertyValue("weight_version", out var version))
        {
            return Task.FromResult(ControlCalls.Failure("Missing 'weight_version' in body"));
        }

        // Kept as it came: trainers compare it with what they set, number or text.
        (_version, _hasVersion) = (version?.DeepClone(), true);
        return Task.FromResult(new JsonObject { ["status"] = "ok", ["version"] = version?.DeepClone() });
    }

    /// <summary>Null if the variable is no number. What a timer does not hold is no limit, and below zero is none left.</summary>
    private TimeSpan? Limit()
    {
        const double dayOfSeconds = 86_400;
        if (_groupTimeout is null)
        {
            return TimeSpan.FromSeconds(30);
        }

        return double.TryParse(_groupTimeout, CultureInfo.InvariantCulture, out var seconds) && !double.IsNaN(seconds)
            ? TimeSpan.FromSeconds(Math.Clamp(seconds, 0, dayOfSeconds))
            : null;
    }

    private static JsonNode? Member(JsonObject body, string name, string otherwise) =>
        body.TryGetPropertyValue(name, out var value) ? value : JsonValue.Create(otherwise);

    /// <summary>Null if it is there and no boolean.</summary>
    private static bool? Flag(JsonObject body, string name, bool otherwise) =>
        !body.TryGetPropertyValue(name, out var value) ? otherwise
        : value?.GetValueKind() is JsonValueKind.True or JsonValueKind.False ? value.GetValue<bool>()
        : null;

    private static JsonObject Rest(JsonObject body, string[] without) =>
        new(body.Where(pair => !without.Contains(pair.Key)).Select(pair => KeyValuePair.Create(pair.Key, pair.Value?.DeepClone())));
}
