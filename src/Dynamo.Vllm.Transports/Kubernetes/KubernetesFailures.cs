using System.Net;
using System.Security.Authentication;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.Discovery;
using k8s.Autorest;

namespace Dynamo.Vllm.Transports.Kubernetes;

/// <summary>What the API server's refusals mean, in one line each.</summary>
internal sealed class KubernetesFailures(KubernetesOptions options)
{
    /// <summary>What a call is for, as its failure says it.</summary>
    public const string Applying = "apply";

    public const string Listing = "list";

    public const string Deleting = "delete the former";

    public static bool IsOfApi(Exception exception, CancellationToken cancellationToken) =>
        exception is HttpOperationException or HttpRequestException or IOException
        || (exception is OperationCanceledException && !cancellationToken.IsCancellationRequested); // the client's own time limit

    public static bool IsWorthAnotherTry(Exception exception) =>
        exception switch
        {
            HttpOperationException { Response.StatusCode: HttpStatusCode.TooManyRequests or HttpStatusCode.Conflict } => true,
            HttpOperationException { Response.StatusCode: HttpStatusCode.RequestTimeout } => true,
            HttpOperationException refused => (int)refused.Response.StatusCode >= 500,
            HttpRequestException { InnerException: AuthenticationException } => false,
            _ => true,
        };

    public string Explain(string what, Exception exception)
    {
        const string kind = $"{WorkerMetadata.Plural}.{WorkerMetadata.Group}";
        var resource = $"kubernetes discovery cannot {what} {kind} '{options.Pod.ResourceName}' in namespace '{options.Pod.Namespace}'";
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
            OperationCanceledException => $"{resource}: no answer within {options.CallTimeLimit.TotalSeconds:0.#} s",
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
            Listing => $"list on {kind} and on " + (options.Pod.IsContainerMode ? "pods" : "endpointslices.discovery.k8s.io"),
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
}
