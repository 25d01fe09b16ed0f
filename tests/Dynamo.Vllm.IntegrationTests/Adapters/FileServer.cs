using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

namespace Dynamo.Vllm.IntegrationTests.Adapters;

/// <summary>A hub or an object store: answers by path, and remembers what it was asked.</summary>
internal sealed class FileServer : IAsyncDisposable
{
    private readonly WebApplication _application;

    private FileServer(WebApplication application) => _application = application;

    public Dictionary<string, byte[]> Files { get; } = [];

    /// <summary>Path and query of each request, with the authorization that came along.</summary>
    public List<(string Target, string? Authorization)> Requests { get; } = [];

    /// <summary>Never answers.</summary>
    public bool IsStuck { get; set; }

    public Uri Address => new(_application.Urls.First());

    public static async Task<FileServer> StartAsync()
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0));
        var server = new FileServer(builder.Build());
        server._application.Run(server.AnswerAsync);
        await server._application.StartAsync();
        return server;
    }

    public async ValueTask DisposeAsync()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(1));
        await _application.StopAsync(limit.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _application.DisposeAsync();
    }

    private async Task AnswerAsync(HttpContext context)
    {
        var target = $"{context.Request.Path.Value}{context.Request.QueryString}";
        lock (Requests)
        {
            Requests.Add((target, context.Request.Headers.Authorization));
        }

        if (IsStuck)
        {
            await Task.Delay(Timeout.Infinite, context.RequestAborted).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
        else if (Files.TryGetValue(target, out var content) || Files.TryGetValue(context.Request.Path.Value!, out content))
        {
            await context.Response.Body.WriteAsync(content);
        }
        else
        {
            context.Response.StatusCode = StatusCodes.Status404NotFound;
        }
    }
}
