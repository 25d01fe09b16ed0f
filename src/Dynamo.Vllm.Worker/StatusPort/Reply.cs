using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>Bodies as the reference's status server writes them.</summary>
internal static class Reply
{
    private const string PlainText = "text/plain; charset=utf-8";

    /// <summary>Escaped as little as the reference does, for the sake of readers that look for words.</summary>
    private static readonly JsonSerializerOptions AsIs = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static string Text(JsonNode node) => node.ToJsonString(AsIs);

    public static Task WriteAsync(HttpContext context, int status, string text, string contentType = PlainText)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = contentType;
        return context.Response.WriteAsync(text, context.RequestAborted);
    }

    public static Task NoRouteAsync(HttpContext context) => WriteAsync(context, StatusCodes.Status404NotFound, "Route not found");

    public static async Task<ReadOnlyMemory<byte>> ReadBodyAsync(HttpContext context)
    {
        using var buffer = new MemoryStream();
        await context.Request.Body.CopyToAsync(buffer, context.RequestAborted).ConfigureAwait(false);
        return buffer.GetBuffer().AsMemory(0, (int)buffer.Length);
    }
}
