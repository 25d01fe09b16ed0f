using System.Text.Json;
using Dynamo.Vllm.Worker.StatusPage;
using Microsoft.Net.Http.Headers;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>The status page, which the reference has not: at paths where it says that there is no route.</summary>
internal static class StatusPageEndpoints
{
    public const string Page = "/status";
    public const string Json = "/status.json";
    public const string Drain = "/status/drain";

    public static void MapStatusPage(this IEndpointRouteBuilder routes)
    {
        var source = routes.ServiceProvider.GetRequiredService<IStatusSource>();
        var time = routes.ServiceProvider.GetRequiredService<TimeProvider>();
        routes
            .MapMethods(Page, StatusEndpoints.Read, context => WritePageAsync(context, source, time))
            .WithMetadata(TokenRequired.Instance);
        routes.MapMethods(Json, StatusEndpoints.Read, context => WriteJsonAsync(context, source)).WithMetadata(TokenRequired.Instance);
        routes.MapPost(Drain, context => DrainAsync(context, source)).WithMetadata(TokenRequired.Instance);
    }

    private static Task WritePageAsync(HttpContext context, IStatusSource source, TimeProvider time)
    {
        AddHeaders(context.Response.Headers);
        var page = StatusPageText.Render(source.Read(), source.MayDrain, time.GetUtcNow());
        return Reply.WriteAsync(context, StatusCodes.Status200OK, page, "text/html; charset=utf-8");
    }

    private static Task WriteJsonAsync(HttpContext context, IStatusSource source)
    {
        AddHeaders(context.Response.Headers);
        var json = JsonSerializer.Serialize(source.Read(), StatusSnapshotContext.Default.StatusSnapshot);
        return Reply.WriteAsync(context, StatusCodes.Status200OK, json, "application/json");
    }

    private static Task DrainAsync(HttpContext context, IStatusSource source)
    {
        if (!source.MayDrain)
        {
            const string text = "Draining from here needs --system-token-file, or a status port on loopback (DYN_SYSTEM_HOST)";
            return Reply.WriteAsync(context, StatusCodes.Status403Forbidden, text);
        }

        if (!IsOfThisPage(context.Request))
        {
            return Reply.WriteAsync(context, StatusCodes.Status403Forbidden, "Another site's page cannot drain this worker");
        }

        source.Drain();
        context.Response.Headers.Location = Page;
        return Reply.WriteAsync(context, StatusCodes.Status303SeeOther, "Draining");
    }

    /// <summary>A browser sends the login that it knows also for a form of another site, and says where that is from.</summary>
    private static bool IsOfThisPage(HttpRequest request)
    {
        var origin = request.Headers.Origin.ToString();
        return origin.Length == 0 || (Uri.TryCreate(origin, UriKind.Absolute, out var uri) && uri.Authority == request.Host.Value);
    }

    private static void AddHeaders(IHeaderDictionary headers)
    {
        headers[HeaderNames.ContentSecurityPolicy] = StatusPageText.Policy;
        headers[HeaderNames.XContentTypeOptions] = "nosniff";
        headers["Referrer-Policy"] = "same-origin"; // with no-referrer a form's origin would be "null"
        headers[HeaderNames.CacheControl] = "no-store";
    }
}
