namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>This process's records, and the model's files for frontends on other hosts (llm-registration.md, 4).</summary>
internal static partial class MetadataEndpoints
{
    private const string FilesPath = "/v1/metadata/";

    public static void MapMetadata(this IEndpointRouteBuilder routes)
    {
        var page = routes.ServiceProvider.GetRequiredService<MetadataPage>();
        var files = routes.ServiceProvider.GetRequiredService<HostedFiles>();
        var logger = routes.ServiceProvider.GetRequiredService<ILogger<HostedFiles>>();
        routes.MapMethods("/metadata", StatusEndpoints.Read, context => WriteAsync(context, page));
        routes.MapMethods(
            FilesPath + "{namespace}/{component}/{endpoint}/{model}/{suffix}/{**file:required}",
            StatusEndpoints.Read,
            context => SendAsync(context, files, logger)
        );
    }

    private static Task WriteAsync(HttpContext context, MetadataPage page) =>
        page.Current is { } metadata
            ? Reply.WriteAsync(context, StatusCodes.Status200OK, metadata.ToJsonString())
            : Reply.WriteAsync(context, StatusCodes.Status404NotFound, "Discovery metadata not available");

    private static async Task SendAsync(HttpContext context, HostedFiles files, ILogger logger)
    {
        if (files.Find(context.Request.Path.Value![FilesPath.Length..]) is not { } file)
        {
            await Reply.WriteAsync(context, StatusCodes.Status404NotFound, "Not found").ConfigureAwait(false);
            return;
        }

        try
        {
            context.Response.ContentType = "application/octet-stream";
            await context.Response.SendFileAsync(file, context.RequestAborted).ConfigureAwait(false);
        }
        catch (IOException exception) when (!context.Response.HasStarted)
        {
            LogCannotRead(logger, file, exception.Message);
            await Reply.WriteAsync(context, StatusCodes.Status500InternalServerError, "Read error").ConfigureAwait(false);
        }
    }

    [LoggerMessage(EventId = 3203, Level = LogLevel.Error, Message = "Cannot read model file {File}: {Problem}")]
    private static partial void LogCannotRead(ILogger logger, string file, string problem);
}
