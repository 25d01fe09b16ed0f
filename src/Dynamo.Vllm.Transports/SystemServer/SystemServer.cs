using System.Net;
using System.Net.Sockets;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Transports.Tcp;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.SystemServer;

/// <summary>Health, metrics, model files and control calls over HTTP (runtime.md,
/// 4). Lives on .NET alone: a busy interpreter cannot delay a probe.</summary>
public sealed partial class SystemServer : IAsyncDisposable
{
    /// <summary>A control call carries names and numbers, at most a list of tensors' names.</summary>
    private const long BodyBytesMax = 16 << 20;

    /// <summary>Open keep-alive connections must not hold the exit.</summary>
    public static readonly TimeSpan StopLimit = TimeSpan.FromSeconds(2);

    private static readonly TimeSpan WarmUpLimit = TimeSpan.FromSeconds(5);

    private const string PlainText = "text/plain; charset=utf-8";

    private static readonly JsonSerializerOptions AsIs = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Under which a connection's items hold its place.</summary>
    private static readonly object SeatKey = new();

    private readonly SystemServerOptions _options;
    private readonly HealthState _health;
    private readonly EngineRoutes _routes;
    private readonly HostedFiles _files;
    private readonly AdapterRoutes? _adapters;
    private readonly Func<CancellationToken, Task<string>> _metrics;
    private readonly Func<JsonObject?> _metadata;
    private readonly ILoggerFactory _loggers;
    private readonly ILogger<SystemServer> _logger;
    private WebApplication? _application;

    /// <param name="options">Address and paths.</param>
    /// <param name="health">Behind the probes.</param>
    /// <param name="routes">Behind <c>/engine/</c>.</param>
    /// <param name="files">Behind <c>/v1/metadata/</c>.</param>
    /// <param name="adapters">Behind <c>/v1/loras</c>; null: no such route.</param>
    /// <param name="metrics">Text of a scrape.</param>
    /// <param name="metadata">Behind <c>/metadata</c>.</param>
    /// <param name="loggers">Log.</param>
    public SystemServer(
        SystemServerOptions options,
        HealthState health,
        EngineRoutes routes,
        HostedFiles files,
        AdapterRoutes? adapters,
        Func<CancellationToken, Task<string>> metrics,
        Func<JsonObject?> metadata,
        ILoggerFactory loggers
    )
    {
        _options = options;
        _health = health;
        _routes = routes;
        _files = files;
        _adapters = adapters;
        _metrics = metrics;
        _metadata = metadata;
        _loggers = loggers;
        _logger = loggers.CreateLogger<SystemServer>();
    }

    /// <summary>The bound address, or null when the server does not run.</summary>
    public IPEndPoint? Address { get; private set; }

    /// <summary>Binds. A failure is logged and not fatal, as in the reference: the worker can serve without it.</summary>
    public async Task StartAsync(CancellationToken cancellationToken)
    {
        WebApplication? application = null;
        try
        {
            var address = await HostAddress.ResolveAsync(_options.Host, cancellationToken).ConfigureAwait(false);
            application = Build(address);
            await application.StartAsync(cancellationToken).ConfigureAwait(false);
            _application = application;
            Address = BoundAddress(application);
            LogListening(_logger, Address);
            await WarmUpAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (IOException exception)
        {
            LogCannotListen(_logger, _options.Host, _options.Port, exception.Message.TrimEnd('.'));
            if (application is not null)
            {
                await application.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_application is { } application)
        {
            _application = null;
            using var limit = new CancellationTokenSource(StopLimit);
            await application.StopAsync(limit.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await application.DisposeAsync().ConfigureAwait(false);
        }
    }

    private WebApplication Build(IPAddress address)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Services.AddSingleton(_loggers);
        builder
            .WebHost.UseKestrelCore()
            .ConfigureKestrel(kestrel =>
            {
                kestrel.AddServerHeader = false;
                kestrel.Limits.MaxRequestBodySize = BodyBytesMax;
                kestrel.Listen(address, _options.Port, listener => listener.Use(next => connection => AdmitAsync(connection, next)));
            });
        var application = builder.Build();
        application.Run(HandleAsync);
        return application;
    }

    /// <summary>
    /// One probe of our own: the libraries of the whole path are loaded from files, and once the process has no descriptor left, what could
    /// not be loaded is missing for good, and the listener with it.
    /// </summary>
    private async Task WarmUpAsync(CancellationToken cancellationToken)
    {
        if (Address is not { } bound)
        {
            return;
        }

        var loopback = bound.AddressFamily == AddressFamily.InterNetwork ? IPAddress.Loopback : IPAddress.IPv6Loopback;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(WarmUpLimit);
        try
        {
            using var socket = new Socket(bound.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            await socket
                .ConnectAsync(
                    new IPEndPoint(NetworkAddresses.IsWildcard(bound.Address) ? loopback : bound.Address, bound.Port),
                    limit.Token
                )
                .ConfigureAwait(false);
            var probe = System.Text.Encoding.ASCII.GetBytes($"GET {_options.LivePath} HTTP/1.1\r\nHost: self\r\nConnection: close\r\n\r\n");
            await socket.SendAsync(probe, limit.Token).ConfigureAwait(false);
            var answer = new byte[4096];
            while (await socket.ReceiveAsync(answer, limit.Token).ConfigureAwait(false) > 0)
            {
                // To its end; what it says is for others.
            }
        }
        catch (Exception exception)
            when (exception is SocketException or OperationCanceledException && !cancellationToken.IsCancellationRequested)
        {
            LogNotWarm(_logger, bound, exception.Message);
        }
    }

    private async Task AdmitAsync(ConnectionContext connection, ConnectionDelegate next)
    {
        using var seat = _options.Connections.Admit(connection.Abort);
        connection.Items[SeatKey] = seat;
        await next(connection).ConfigureAwait(false);
    }

    private static IPEndPoint? BoundAddress(WebApplication application)
    {
        var url = application.Urls.FirstOrDefault();
        return
            url is not null
            && Uri.TryCreate(url, UriKind.Absolute, out var uri)
            && IPAddress.TryParse(uri.Host.Trim('[', ']'), out var address)
            ? new IPEndPoint(address, uri.Port)
            : null;
    }

    private async Task HandleAsync(HttpContext context)
    {
        var seat = context.Features.Get<IConnectionItemsFeature>()?.Items[SeatKey] as ConnectionCap.Seat;
        seat?.BeginUse(); // a control call may take minutes
        try
        {
            await RouteAsync(context).ConfigureAwait(false);
        }
        finally
        {
            seat?.EndUse();
        }
    }

    private Task RouteAsync(HttpContext context)
    {
        var path = context.Request.Path.Value ?? "/";
        if (IsAdapterPath(path))
        {
            return RouteAdaptersAsync(context, path);
        }

        if (!IsAnyMethod(path) && context.Request.Method is not ("GET" or "HEAD"))
        {
            return RefuseMethod(context, "GET,HEAD");
        }

        if (path == _options.HealthPath)
        {
            return WriteStatusAsync(context, _health.IsReady);
        }

        if (path == _options.LivePath)
        {
            return WriteStatusAsync(context, _options.LiveIsReady ? _health.IsReadyItself : _health.IsLive);
        }

        return path switch
        {
            "/metrics" => WriteMetricsAsync(context),
            "/metadata" => WriteMetadataAsync(context),
            _ when path.StartsWith("/engine/", StringComparison.Ordinal) && path.Length > "/engine/".Length => CallEngineAsync(
                context,
                path["/engine/".Length..]
            ),
            _ when path.StartsWith("/v1/metadata/", StringComparison.Ordinal) && HostedFiles.IsPath(path["/v1/metadata/".Length..]) =>
                SendFileAsync(context, path["/v1/metadata/".Length..]),
            _ => WriteAsync(context, StatusCodes.Status404NotFound, "Route not found"),
        };
    }

    /// <summary>Control calls, and what is no route at all: that is a 404 for every method.</summary>
    private bool IsAnyMethod(string path) =>
        path != _options.HealthPath
        && path != _options.LivePath
        && path is not ("/metrics" or "/metadata")
        && !(path.StartsWith("/v1/metadata/", StringComparison.Ordinal) && HostedFiles.IsPath(path["/v1/metadata/".Length..]));

    private Task WriteStatusAsync(HttpContext context, bool isOk) =>
        WriteAsync(context, isOk ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable, _health.ToJson(isOk).ToJsonString());

    private async Task WriteMetricsAsync(HttpContext context)
    {
        var text = await _metrics(context.RequestAborted).ConfigureAwait(false);
        context.Response.ContentType = "text/plain; version=0.0.4";
        await context.Response.WriteAsync(text, context.RequestAborted).ConfigureAwait(false);
    }

    private Task WriteMetadataAsync(HttpContext context) =>
        _metadata() is { } metadata
            ? WriteAsync(context, StatusCodes.Status200OK, metadata.ToJsonString())
            : WriteAsync(context, StatusCodes.Status404NotFound, "Discovery metadata not available");

    private async Task SendFileAsync(HttpContext context, string path)
    {
        if (_files.Find(path) is not { } file)
        {
            await WriteAsync(context, StatusCodes.Status404NotFound, "Not found").ConfigureAwait(false);
            return;
        }

        try
        {
            context.Response.ContentType = "application/octet-stream";
            await context.Response.SendFileAsync(file, context.RequestAborted).ConfigureAwait(false);
        }
        catch (IOException exception) when (!context.Response.HasStarted)
        {
            LogCannotRead(_logger, file, exception.Message);
            await WriteAsync(context, StatusCodes.Status500InternalServerError, "Read error").ConfigureAwait(false);
        }
    }

    private async Task CallEngineAsync(HttpContext context, string path)
    {
        if (_routes.Find(path) is not { } handler)
        {
            await WriteAsync(context, StatusCodes.Status404NotFound, Error("Route not found", $"Route /engine/{path} not found"))
                .ConfigureAwait(false);
            return;
        }

        JsonNode? body;
        try
        {
            body = await ReadBodyAsync(context).ConfigureAwait(false);
        }
        catch (JsonException exception)
        {
            await WriteAsync(context, StatusCodes.Status400BadRequest, Error("Invalid JSON", exception.Message)).ConfigureAwait(false);
            return;
        }

        try
        {
            var reply = await handler(body, context.RequestAborted).ConfigureAwait(false);
            await WriteAsync(context, StatusCodes.Status200OK, Text(reply)).ConfigureAwait(false);
        }
        catch (EngineRouteException exception)
        {
            await FailAsync(context, exception.Message).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is not OperationCanceledException && !context.Response.HasStarted)
        {
            // Boundary mapping (style E3): whatever a call throws, its caller learns the reason.
            LogCallFailed(_logger, path, exception);
            await FailAsync(context, $"{exception.GetType().Name}: {exception.Message}").ConfigureAwait(false);
        }
    }

    private static async Task<JsonNode?> ReadBodyAsync(HttpContext context)
    {
        var body = await ReadBytesAsync(context).ConfigureAwait(false);
        return body.IsEmpty ? new JsonObject() : JsonPayload.Parse(body.Span);
    }

    private static async Task<ReadOnlyMemory<byte>> ReadBytesAsync(HttpContext context)
    {
        using var buffer = new MemoryStream();
        await context.Request.Body.CopyToAsync(buffer, context.RequestAborted).ConfigureAwait(false);
        return buffer.GetBuffer().AsMemory(0, (int)buffer.Length);
    }

    private static Task FailAsync(HttpContext context, string problem) =>
        WriteAsync(context, StatusCodes.Status500InternalServerError, Error("Handler error", $"Python callback failed: {problem}"));

    private static string Error(string error, string message) => Text(new JsonObject { ["error"] = error, ["message"] = message });

    /// <summary>Escaped as little as the reference does, for the sake of readers that look for words.</summary>
    private static string Text(JsonNode node) => node.ToJsonString(AsIs);

    private static Task WriteAsync(HttpContext context, int status, string text)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = PlainText;
        return context.Response.WriteAsync(text, context.RequestAborted);
    }

    [LoggerMessage(EventId = 3201, Level = LogLevel.Information, Message = "System status server listens on {Address}")]
    private static partial void LogListening(ILogger logger, IPEndPoint? address);

    [LoggerMessage(
        EventId = 3205,
        Level = LogLevel.Warning,
        Message = "System status server did not answer its own first probe on {Address}: {Problem}"
    )]
    private static partial void LogNotWarm(ILogger logger, IPEndPoint address, string problem);

    [LoggerMessage(
        EventId = 3202,
        Level = LogLevel.Error,
        Message = "System status server cannot listen on {Host}:{Port}: {Problem}. Probes will fail; set DYN_SYSTEM_PORT to a free port"
    )]
    private static partial void LogCannotListen(ILogger logger, string host, int port, string problem);

    [LoggerMessage(EventId = 3203, Level = LogLevel.Error, Message = "Cannot read model file {File}: {Problem}")]
    private static partial void LogCannotRead(ILogger logger, string file, string problem);

    [LoggerMessage(EventId = 3204, Level = LogLevel.Error, Message = "Control call {Path} failed")]
    private static partial void LogCallFailed(ILogger logger, string path, Exception exception);
}
