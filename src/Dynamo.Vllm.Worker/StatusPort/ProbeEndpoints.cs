using Dynamo.Vllm.Core.Health;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>Readiness and liveness (runtime.md, 4.2).</summary>
internal static class ProbeEndpoints
{
    public static void MapProbes(this IEndpointRouteBuilder routes, StatusEndpointOptions options)
    {
        var health = routes.ServiceProvider.GetRequiredService<HealthState>();
        routes.MapMethods(options.HealthPath, StatusEndpoints.Read, context => WriteAsync(context, health, health.IsReady));
        routes.MapMethods(
            options.LivePath,
            StatusEndpoints.Read,
            context => WriteAsync(context, health, options.LiveIsReady ? health.IsReadyItself : health.IsLive)
        );
    }

    private static Task WriteAsync(HttpContext context, HealthState health, bool isOk) =>
        Reply.WriteAsync(
            context,
            isOk ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable,
            health.ToJson(isOk).ToJsonString()
        );
}
