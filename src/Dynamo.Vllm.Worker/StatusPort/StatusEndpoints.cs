using System.Globalization;
using Dynamo.Vllm.Worker.GrpcRequests;
using Grpc.AspNetCore.Server;
using Grpc.Core;
using Microsoft.Net.Http.Headers;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>Everything that the status port answers (runtime.md, 4).
/// Lives on .NET alone: a busy interpreter cannot delay a probe.</summary>
internal static class StatusEndpoints
{
    /// <summary>Methods of what can only be read.</summary>
    public static readonly string[] Read = [HttpMethods.Get, HttpMethods.Head];

    public static WebApplication MapStatusEndpoints(this WebApplication application, StatusEndpointOptions options)
    {
        application.Use(ConnectionSeats.UseAsync);
        application.Use((context, next) => KeepPortsApart(context, next, options.GrpcPort));
        application.Use(AnswerAsTheReferenceAsync);
        if (options.TokenFile is { } path)
        {
            var token = new SystemToken(path, application.Services.GetRequiredService<ILogger<SystemToken>>());
            application.Use((context, next) => AskForTokenAsync(context, next, token));
        }

        application.MapProbes(options);
        application.MapMetrics(options.FurtherPorts);
        application.MapMetadata();
        application.MapControl();
        if (!options.IsPath(StatusPageEndpoints.Page, StatusPageEndpoints.Json))
        {
            application.MapStatusPage();
        }

        if (options.HasAdapters)
        {
            application.MapAdapters();
        }

        if (options.GrpcPort is not null)
        {
            application.MapGrpcHealth();
        }

        if (options.TakesGrpcRequests)
        {
            application.MapGrpcRequests();
        }

        return application;
    }

    private static Task AskForTokenAsync(HttpContext context, RequestDelegate next, SystemToken token)
    {
        var isGuarded = context.GetEndpoint()?.Metadata.GetMetadata<TokenRequired>() is not null;
        if (!isGuarded || token.Admits(context.Request.Headers.Authorization))
        {
            return next(context);
        }

        const string problem = "The token of --system-token-file is needed";
        if (context.GetEndpoint()?.Metadata.GetMetadata<GrpcMethodMetadata>() is not null)
        {
            return RefuseCall(context, StatusCode.Unauthenticated, problem);
        }

        // Basic is what a browser can ask its user for.
        context.Response.Headers.WWWAuthenticate = "Basic realm=\"dynamo-vllm\", charset=\"UTF-8\"";
        return Reply.WriteAsync(context, StatusCodes.Status401Unauthorized, problem);
    }

    /// <summary>As gRPC answers a call that has not begun: everything is in the headers.</summary>
    private static Task RefuseCall(HttpContext context, StatusCode status, string text)
    {
        context.Response.ContentType = "application/grpc";
        context.Response.Headers.GrpcStatus = ((int)status).ToString(CultureInfo.InvariantCulture);
        context.Response.Headers.GrpcMessage = text;
        return Task.CompletedTask;
    }

    /// <summary>Whoever may reach the port of gRPC reaches no control call by it.</summary>
    private static Task KeepPortsApart(HttpContext context, RequestDelegate next, int? grpcPort)
    {
        if (grpcPort is { } port && context.GetEndpoint() is { } endpoint)
        {
            var isGrpc = endpoint.Metadata.GetMetadata<GrpcMethodMetadata>() is not null;
            if (isGrpc != (context.Connection.LocalPort == port))
            {
                context.SetEndpoint(null);
            }
        }

        return next(context);
    }

    /// <summary>What is no route says so for every method, a slash at the end makes another path, and methods are listed without
    /// spaces.</summary>
    private static async Task AnswerAsTheReferenceAsync(HttpContext context, RequestDelegate next)
    {
        if (context.GetEndpoint() is not { } endpoint || (context.Request.Path.Value!.EndsWith('/') && !TakesTheRest(endpoint)))
        {
            await Reply.NoRouteAsync(context).ConfigureAwait(false);
            return;
        }

        try
        {
            await next(context).ConfigureAwait(false);
        }
        catch (BadHttpRequestException exception) when (!context.Response.HasStarted && !context.RequestAborted.IsCancellationRequested)
        {
            // Its sender's mistake: an answer with the limit, and no error of ours in the log.
            await Reply.WriteAsync(context, exception.StatusCode, exception.Message).ConfigureAwait(false);
            return;
        }

        if (context.Response is { StatusCode: StatusCodes.Status405MethodNotAllowed, HasStarted: false } response)
        {
            response.Headers[HeaderNames.Allow] = response.Headers.Allow.ToString().Replace(" ", "", StringComparison.Ordinal);
        }
    }

    private static bool TakesTheRest(Endpoint endpoint) =>
        endpoint is RouteEndpoint route && route.RoutePattern.Parameters.Any(parameter => parameter.IsCatchAll);
}
