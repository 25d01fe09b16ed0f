using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Health.Stalls;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.Worker.Control;

/// <summary>What control calls share: bodies, refusals, and that an engine which cannot is an answer, too.</summary>
internal sealed class ControlCalls
{
    private readonly EngineRoutes _routes;
    private readonly ExpectedSilence _silence;
    private readonly WorkerRegistration _registration;

    public ControlCalls(EngineRoutes routes, ExpectedSilence silence, WorkerRegistration registration)
    {
        _routes = routes;
        _silence = silence;
        _registration = registration;
    }

    public static JsonObject Success(string message) => new() { ["status"] = "ok", ["message"] = message };

    public static JsonObject Failure(string message) => new() { ["status"] = "error", ["message"] = message };

    /// <summary>A call whose body is an object; null stands for an empty one.</summary>
    public void Add(string path, Func<JsonObject, CancellationToken, Task<JsonObject>> handler) =>
        AddAny(
            path,
            (body, cancellation) =>
                body is null or JsonObject
                    ? AnswerAsync(() => handler((JsonObject?)body ?? [], cancellation))
                    : Task.FromResult(Failure("request body must be a JSON object"))
        );

    /// <summary>A call that says itself what it takes.</summary>
    public void AddAny(string path, Func<JsonNode?, CancellationToken, Task<JsonObject>> handler) => _routes.Add(path, handler);

    /// <summary>What the engine could not do is an answer. While it tries, its silence is no sign of a stall.</summary>
    public async Task<JsonObject> AnswerAsync(Func<Task<JsonObject>> call)
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
    /// <exception cref="WorkerLeavingException">The one-way door is behind this worker.</exception>
    public void RefuseWhileLeaving()
    {
        if (_registration.IsLeaving)
        {
            throw new WorkerLeavingException();
        }
    }
}
