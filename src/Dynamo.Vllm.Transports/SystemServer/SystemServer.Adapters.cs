using System.Net;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Adapters;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Dynamo.Vllm.Transports.SystemServer;

/// <remarks>The adapter routes (behaviour.md, 16): the name is the rest of the path, with slashes as they are or escaped.</remarks>
public sealed partial class SystemServer
{
    private const string AdaptersPath = "/v1/loras";
    private const string AdapterPrefix = "/v1/loras/";

    private bool IsAdapterPath(string path) =>
        _adapters is not null
        && (path == AdaptersPath || (path.StartsWith(AdapterPrefix, StringComparison.Ordinal) && path.Length > AdapterPrefix.Length));

    private Task RouteAdaptersAsync(HttpContext context, string path) =>
        (context.Request.Method, path == AdaptersPath) switch
        {
            ("GET" or "HEAD", true) => ListAdaptersAsync(context),
            ("POST", true) => LoadAdapterAsync(context),
            ("DELETE", false) => UnloadAdapterAsync(context),
            (_, true) => RefuseMethod(context, "GET,HEAD,POST"),
            _ => RefuseMethod(context, "DELETE"),
        };

    private async Task ListAdaptersAsync(HttpContext context)
    {
        var reply = _adapters!.Adapters is { } adapters
            ? await adapters.ListAsync().ConfigureAwait(false)
            : AdapterRoutes.NotAvailable("list_loras");
        await ReplyAsync(context, reply).ConfigureAwait(false);
    }

    private async Task LoadAdapterAsync(HttpContext context)
    {
        if (!context.Request.HasJsonContentType())
        {
            const string problem = "Expected request with `Content-Type: application/json`";
            await WriteAsync(context, StatusCodes.Status415UnsupportedMediaType, problem).ConfigureAwait(false);
            return;
        }

        var bytes = await ReadBytesAsync(context).ConfigureAwait(false);
        try
        {
            var body = LoadAdapterBody.Read(bytes.Span);
            var reply = _adapters!.Adapters is { } adapters
                ? await adapters.LoadAsync(body, context.RequestAborted).ConfigureAwait(false)
                : AdapterRoutes.NotAvailable("load_lora", (string?)body["lora_name"]);
            await ReplyAsync(context, reply).ConfigureAwait(false);
        }
        catch (UnfitBodyException exception)
        {
            await WriteAsync(context, exception.Status, exception.Message).ConfigureAwait(false);
        }
    }

    private async Task UnloadAdapterAsync(HttpContext context)
    {
        // The path that the server hands out keeps an escaped slash escaped, which cannot be told from one that was so in the name.
        var target = context.Features.Get<IHttpRequestFeature>()!.RawTarget.Split('?')[0];
        var start = target.IndexOf(AdapterPrefix, StringComparison.Ordinal);
        if (start < 0)
        {
            // Something before the name is escaped or takes detours.
            target = context.Request.Path.Value!;
            start = 0;
        }

        var name = Uri.UnescapeDataString(target[(start + AdapterPrefix.Length)..]);
        var reply = _adapters!.Adapters is { } adapters
            ? await adapters.UnloadAsync(new JsonObject { ["lora_name"] = name }, context.RequestAborted).ConfigureAwait(false)
            : AdapterRoutes.NotAvailable("unload_lora", name);
        await ReplyAsync(context, reply).ConfigureAwait(false);
    }

    private static async Task ReplyAsync(HttpContext context, AdapterReply reply)
    {
        context.Response.StatusCode = (int)(reply.IsSuccess ? HttpStatusCode.OK : HttpStatusCode.InternalServerError);
        context.Response.ContentType = "application/json";
        await context.Response.WriteAsync(Text(reply.ToJson(withHotSwap: false)), context.RequestAborted).ConfigureAwait(false);
    }

    private static Task RefuseMethod(HttpContext context, string allowed)
    {
        context.Response.StatusCode = StatusCodes.Status405MethodNotAllowed;
        context.Response.Headers.Allow = allowed;
        return Task.CompletedTask;
    }
}
