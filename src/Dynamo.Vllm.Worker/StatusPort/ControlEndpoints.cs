using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>Control calls (behaviour.md, 5): any method, and an answer in JSON whatever happens.</summary>
internal static partial class ControlEndpoints
{
    private const string Prefix = "/engine/";

    public static void MapControl(this IEndpointRouteBuilder routes)
    {
        var calls = routes.ServiceProvider.GetRequiredService<EngineRoutes>();
        var logger = routes.ServiceProvider.GetRequiredService<ILogger<EngineRoutes>>();
        routes.Map(Prefix + "{**call:required}", context => CallAsync(context, calls, logger)).WithMetadata(TokenRequired.Instance);
    }

    private static async Task CallAsync(HttpContext context, EngineRoutes calls, ILogger logger)
    {
        var path = context.Request.Path.Value![Prefix.Length..];
        if (calls.Find(path) is not { } handler)
        {
            var text = Error("Route not found", $"Route {Prefix}{path} not found");
            await Reply.WriteAsync(context, StatusCodes.Status404NotFound, text).ConfigureAwait(false);
            return;
        }

        JsonNode? body;
        try
        {
            var bytes = await Reply.ReadBodyAsync(context).ConfigureAwait(false);
            body = bytes.IsEmpty ? new JsonObject() : JsonPayload.Parse(bytes.Span);
        }
        catch (JsonException exception)
        {
            await Reply
                .WriteAsync(context, StatusCodes.Status400BadRequest, Error("Invalid JSON", exception.Message))
                .ConfigureAwait(false);
            return;
        }

        try
        {
            var reply = await handler(body, context.RequestAborted).ConfigureAwait(false);
            await Reply.WriteAsync(context, StatusCodes.Status200OK, Reply.Text(reply)).ConfigureAwait(false);
        }
        catch (EngineRouteException exception)
        {
            await FailAsync(context, exception.Message).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is not OperationCanceledException && !context.Response.HasStarted)
        {
            // Boundary mapping (style E3): whatever a call throws, its caller learns the reason.
            LogCallFailed(logger, path, exception);
            await FailAsync(context, $"{exception.GetType().Name}: {exception.Message}").ConfigureAwait(false);
        }
    }

    private static Task FailAsync(HttpContext context, string problem) =>
        Reply.WriteAsync(context, StatusCodes.Status500InternalServerError, Error("Handler error", $"Python callback failed: {problem}"));

    private static string Error(string error, string message) => Reply.Text(new JsonObject { ["error"] = error, ["message"] = message });

    [LoggerMessage(EventId = 3204, Level = LogLevel.Error, Message = "Control call {Path} failed")]
    private static partial void LogCallFailed(ILogger logger, string path, Exception exception);
}
