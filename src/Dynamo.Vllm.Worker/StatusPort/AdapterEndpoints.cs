using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Adapters;
using Microsoft.AspNetCore.Http.Features;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>LoRA adapters (behaviour.md, 16).</summary>
internal static class AdapterEndpoints
{
    private const string Adapters = "/v1/loras";
    private const string Prefix = "/v1/loras/";

    public static void MapAdapters(this IEndpointRouteBuilder routes)
    {
        var adapters = routes.ServiceProvider.GetRequiredService<AdapterRoutes>();
        routes.MapMethods(Adapters, StatusEndpoints.Read, context => ListAsync(context, adapters)).WithMetadata(TokenRequired.Instance);
        routes.MapPost(Adapters, context => LoadAsync(context, adapters)).WithMetadata(TokenRequired.Instance);
        // The name is the rest of the path, with slashes as they are or escaped.
        routes.MapDelete(Prefix + "{name}/{**rest}", context => UnloadAsync(context, adapters)).WithMetadata(TokenRequired.Instance);
    }

    private static async Task ListAsync(HttpContext context, AdapterRoutes routes)
    {
        var reply = routes.Adapters is { } adapters
            ? await adapters.ListAsync().ConfigureAwait(false)
            : AdapterRoutes.NotAvailable("list_loras");
        await WriteAsync(context, reply).ConfigureAwait(false);
    }

    private static async Task LoadAsync(HttpContext context, AdapterRoutes routes)
    {
        if (!context.Request.HasJsonContentType())
        {
            const string problem = "Expected request with `Content-Type: application/json`";
            await Reply.WriteAsync(context, StatusCodes.Status415UnsupportedMediaType, problem).ConfigureAwait(false);
            return;
        }

        var bytes = await Reply.ReadBodyAsync(context).ConfigureAwait(false);
        try
        {
            var body = LoadAdapterBody.Read(bytes.Span);
            var reply = routes.Adapters is { } adapters
                ? await adapters.LoadAsync(body, context.RequestAborted).ConfigureAwait(false)
                : AdapterRoutes.NotAvailable("load_lora", (string?)body["lora_name"]);
            await WriteAsync(context, reply).ConfigureAwait(false);
        }
        catch (UnfitBodyException exception)
        {
            await Reply.WriteAsync(context, exception.Status, exception.Message).ConfigureAwait(false);
        }
    }

    private static async Task UnloadAsync(HttpContext context, AdapterRoutes routes)
    {
        var name = NameOf(context);
        var reply = routes.Adapters is { } adapters
            ? await adapters.UnloadAsync(new JsonObject { ["lora_name"] = name }, context.RequestAborted).ConfigureAwait(false)
            : AdapterRoutes.NotAvailable("unload_lora", name);
        await WriteAsync(context, reply).ConfigureAwait(false);
    }

    /// <summary>The path that the server hands out keeps an escaped slash escaped, which cannot be told from one that was so in the
    /// name; hence from what came over the wire, unless something before the name is escaped or takes detours.</summary>
    private static string NameOf(HttpContext context)
    {
        var target = context.Features.Get<IHttpRequestFeature>()!.RawTarget.Split('?')[0];
        var start = target.IndexOf(Prefix, StringComparison.Ordinal);
        return Uri.UnescapeDataString(start < 0 ? context.Request.Path.Value![Prefix.Length..] : target[(start + Prefix.Length)..]);
    }

    private static Task WriteAsync(HttpContext context, AdapterReply reply) =>
        Reply.WriteAsync(
            context,
            reply.IsSuccess ? StatusCodes.Status200OK : StatusCodes.Status500InternalServerError,
            Reply.Text(reply.ToJson(withHotSwap: false)),
            "application/json"
        );
}
