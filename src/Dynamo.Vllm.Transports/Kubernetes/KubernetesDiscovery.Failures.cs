using System.Net;
using System.Security.Authentication;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.Discovery;
using k8s.Autorest;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Kubernetes;

/// <summary>What the API server's refusals mean, in one line each.</summary>
public sealed partial class KubernetesDiscovery
{
    private static bool IsApiFailure(Exception exception, CancellationToken cancellationToken) =>
        exception is HttpOperationException or HttpRequestException or IOException
        || (exception is OperationCanceledException && !cancellationToken.IsCancellationRequested); // the client's own time limit

    private static bool IsWorthAnotherTry(Exception exception) =>
        exception switch
        {
            HttpOperationException { Response.StatusCode: HttpStatusCode.TooManyRequests or HttpStatusCode.Conflict } => true,
            HttpOperationException { Response.StatusCode: HttpStatusCode.RequestTimeout } => true,
            HttpOperationException refused => (int)refused.Response.StatusCode >= 500,
            HttpRequestException { InnerException: AuthenticationException } => false,
            _ => true,
        };

    private string Explain(string what, Exception exception)
    {
        const string kind = $"{WorkerMetadata.Plural}.{WorkerMetadata.Group}";
        var resource = $"kubernetes discovery cannot {what} {kind} '{Pod.ResourceName}' in namespace '{Pod.Namespace}'";
        return exception switch
        {
            HttpOperationException { Response.StatusCode: HttpStatusCode.Unauthorized } =>
                $"{resource}: the API server does not accept the token (401); it has expired, or belongs to another cluster "
                    + "or a deleted service account",
            HttpOperationException { Response.StatusCode: HttpStatusCode.Forbidden } refused =>
                $"{resource}: forbidden ({MessageOf(refused)}); bind the service account to a role with {RightsFor(what)}",
            HttpOperationException { Response.StatusCode: HttpStatusCode.NotFound } refused =>
                $"{resource}: not found ({MessageOf(refused)}); install the custom resource definition "
                    + $"{kind}/{WorkerMetadata.Version}, and check POD_NAMESPACE",
            HttpOperationException refused => $"{resource}: {(int)refused.Response.StatusCode} ({MessageOf(refused)})",
            OperationCanceledException => $"{resource}: no answer within {_options.CallTimeLimit.TotalSeconds:0.#} s",
            HttpRequestException { InnerException: { } inner } => $"{resource}: {inner.Message}",
            _ => $"{resource}: {exception.Message}",
        };
    }

    private string RightsFor(string what)
    {
        const string kind = $"{WorkerMetadata.Plural}.{WorkerMetadata.Group}";
        return what switch
        {
            Deleting => $"delete on {kind}",
            Listing => $"list on {kind} and on " + (Pod.IsContainerMode ? "pods" : "endpointslices.discovery.k8s.io"),
            _ => $"create and patch on {kind}",
        };
    }

    /// <summary>The message of the status object that the server answers with, on one line.</summary>
    private static string MessageOf(HttpOperationException exception)
    {
        var text = exception.Response.Content ?? "";
        try
        {
            text = (string?)JsonNode.Parse(text)?["message"] ?? text;
        }
        catch (Exception wrong) when (wrong is JsonException or InvalidOperationException)
        {
            // A proxy answered, not the API server: its words will have to do.
        }

        text = text.ReplaceLineEndings(" ").Trim();
        return text.Length > 300 ? text[..300] : text;
    }

    [LoggerMessage(
        EventId = 3701,
        Level = LogLevel.Information,
        Message = "Joined kubernetes discovery as {Resource} in namespace {Namespace} of {Server}; instance {Instance}"
    )]
    private static partial void LogJoined(ILogger logger, string resource, string @namespace, Uri server, string instance);

    [LoggerMessage(EventId = 3702, Level = LogLevel.Warning, Message = "POD_NAMESPACE is not set; using 'default'")]
    private static partial void LogDefaultNamespace(ILogger logger);

    [LoggerMessage(
        EventId = 3703,
        Level = LogLevel.Information,
        Message = "Deleted resource {Resource} of a former life of this container"
    )]
    private static partial void LogDeletedFormer(ILogger logger, string resource);

    [LoggerMessage(EventId = 3704, Level = LogLevel.Warning, Message = "{Problem}; trying again in {Seconds:0.0} s")]
    private static partial void LogRetrying(ILogger logger, string problem, double seconds);

    [LoggerMessage(
        EventId = 3705,
        Level = LogLevel.Warning,
        Message = "Resource {Resource} keeps its records until its pod goes: {Problem}"
    )]
    private static partial void LogCannotLeave(ILogger logger, string resource, string problem);
}
