namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>What Prometheus scrapes.</summary>
internal static class MetricsEndpoint
{
    private const string Exposition = "text/plain; version=0.0.4";

    public static void MapMetrics(this IEndpointRouteBuilder routes)
    {
        var page = routes.ServiceProvider.GetRequiredService<MetricsPage>();
        routes.MapMethods(
            "/metrics",
            StatusEndpoints.Read,
            async context =>
            {
                var text = await page.RenderAsync(context.RequestAborted).ConfigureAwait(false);
                await Reply.WriteAsync(context, StatusCodes.Status200OK, text, Exposition).ConfigureAwait(false);
            }
        );
    }
}
