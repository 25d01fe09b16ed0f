using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.StatusPort;
using Grpc.Core;

namespace Dynamo.Vllm.Worker.GrpcRequests;

/// <summary>The worker's own control calls, which exclude each other whichever way they come.</summary>
internal sealed class ControlRoutes
{
    private readonly GrpcIntake _intake;
    private readonly EngineRoutes _routes;

    public ControlRoutes(GrpcIntake intake, EngineRoutes routes)
    {
        _intake = intake;
        _routes = routes;
    }

    /// <exception cref="RpcException">It failed, or the worker has no such call.</exception>
    public async Task<JsonObject> CallAsync(string path, JsonObject body, ServerCallContext context)
    {
        var serving = _intake.Serving;
        var handler =
            _routes.Find(path) ?? throw new RpcException(new Status(StatusCode.Unimplemented, $"this worker has no control call '{path}'"));
        try
        {
            var answer = await handler(body, context.CancellationToken).ConfigureAwait(false);
            return answer["status"]?.ToString() != "error"
                ? answer
                : throw Failed(serving.Engine.Died.IsCompleted, answer["message"]?.ToString() ?? $"'{path}' failed");
        }
        catch (EngineRouteException exception)
        {
            throw Failed(serving.Engine.Died.IsCompleted, exception.Message);
        }
    }

    private static RpcException Failed(bool hasEngineDied, string text) =>
        new(new Status(hasEngineDied ? StatusCode.Internal : StatusCode.FailedPrecondition, text));
}
