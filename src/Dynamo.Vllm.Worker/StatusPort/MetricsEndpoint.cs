namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>What Prometheus scrapes.</summary>
internal static class MetricsEndpoint
{
    private const string Exposition = "text/plain; version=0.0.4";

    /// <param name="routes">Of the status port.</param>
    /// <param name="furtherPorts">A collector that scrapes these, too, must not find the same numbers twice: sums would be wrong.</param>
    public static void MapMetrics(this IEndpointRouteBuilder routes, IReadOnlyList<int> furtherPorts)
    {
        var page = routes.ServiceProvider.GetRequiredService<MetricsPage>();
        routes.MapMethods(
            "/metrics",
            StatusEndpoints.Read,
            async context =>
            {
                var text = furtherPorts.Contains(context.Connection.LocalPort)
                    ? "# all series of this process are on DYN_SYSTEM_PORT\n"
                    : await page.RenderAsync(context.RequestAborted).ConfigureAwait(false);
                await Reply.WriteAsync(context, StatusCodes.Status200OK, text, Exposition).ConfigureAwait(false);
            }
        );
    }
}
