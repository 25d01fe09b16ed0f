using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Protocol.Discovery;
using k8s;
using k8s.Autorest;
using k8s.Exceptions;
using k8s.Models;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Kubernetes;

/// <summary>Records in one custom resource, which is applied as a whole on each change (discovery.md, 5).</summary>
/// <remarks>
/// What routers see is gated by the readiness of the pod; the resource goes with the pod, so nothing expires and nothing is renewed here.
/// A change that cannot be applied is undone locally and fails. Golden file: tests/golden/runtime/kube_requests.jsonl.
/// </remarks>
public sealed partial class KubernetesDiscovery : IDiscovery
{
    private const string FieldManager = "dynamo-worker";

    private readonly KubernetesOptions _options;
    private readonly TimeProvider _time;
    private readonly ILogger<KubernetesDiscovery> _logger;
    private readonly SemaphoreSlim _writing = new(1, 1);
    private readonly KubernetesFailures _failures;
    private k8s.Kubernetes? _client;
    private volatile WorkerMetadata _applied = WorkerMetadata.Empty;

    public KubernetesDiscovery(KubernetesOptions options, TimeProvider time, ILogger<KubernetesDiscovery> logger)
    {
        _options = options;
        _time = time;
        _logger = logger;
        _failures = new KubernetesFailures(options);
    }

    public event Action<InstanceId>? IdentityChanged
    {
        add { }
        remove { } // the identity is the name of the pod
    }

    public string Name => "kubernetes";

    public JsonObject? Metadata => _applied.ToJson();

    private PodIdentity Pod => _options.Pod;

    private k8s.Kubernetes Client => _client ?? throw new InvalidOperationException("not joined");

    public async Task<InstanceId> JoinAsync(CancellationToken cancellationToken)
    {
        _client = Connect();
        if (Pod.NamespaceIsDefault)
        {
            LogDefaultNamespace(_logger);
        }

        if (Pod.IsContainerMode && !_options.IsVisitor)
        {
            // A container that restarts in its pod finds the resource of its former life, which would still be believed.
            await RetryAsync(KubernetesFailures.Deleting, DeleteAsync, cancellationToken).ConfigureAwait(false);
        }

        // Tried without effect: a model may load for minutes before the first record, and a right that is missing is told now.
        await RetryAsync(KubernetesFailures.Applying, token => ApplyAsync(WorkerMetadata.Empty, token, isTrial: true), cancellationToken)
            .ConfigureAwait(false);
        var instance = WorkerMetadata.InstanceOf(Pod.ResourceName);
        LogJoined(_logger, Pod.ResourceName, Pod.Namespace, Client.BaseUri, instance.Hex);
        return instance;
    }

    public Task RegisterAsync(DiscoveryRecord record, CancellationToken cancellationToken) =>
        ChangeAsync(applied => applied.With(record), cancellationToken);

    public Task UnregisterAsync(DiscoveryRecord record, CancellationToken cancellationToken) =>
        ChangeAsync(applied => applied.Without(record), cancellationToken);

    public async Task LeaveAsync(CancellationToken cancellationToken)
    {
        if (_client is null || _applied.IsEmpty)
        {
            return;
        }

        try
        {
            // One try: the pod is about to go, and the resource with it.
            await ApplyAsync(WorkerMetadata.Empty, cancellationToken).ConfigureAwait(false);
            _applied = WorkerMetadata.Empty;
        }
        catch (Exception exception) when (KubernetesFailures.IsOfApi(exception, cancellationToken))
        {
            LogCannotLeave(_logger, Pod.ResourceName, _failures.Explain(KubernetesFailures.Applying, exception));
        }
    }

    public async Task<IReadOnlyList<JsonObject>> ListAsync(string bucket, string keyPrefix, CancellationToken cancellationToken)
    {
        var others = new ReadyResources(Client, Pod);
        IReadOnlyList<JsonObject> found = [];
        await RetryAsync(
                KubernetesFailures.Listing,
                async token => found = await others.ListAsync(bucket, keyPrefix, token).ConfigureAwait(false),
                cancellationToken
            )
            .ConfigureAwait(false);
        return found;
    }

    public async Task<DateTimeOffset?> ReadClockAsync(CancellationToken cancellationToken)
    {
        try
        {
            using var answer = await Client
                .Version.GetCodeWithHttpMessagesAsync(cancellationToken: cancellationToken)
                .ConfigureAwait(false);
            return answer.Response.Headers.Date;
        }
        catch (Exception exception) when (KubernetesFailures.IsOfApi(exception, cancellationToken))
        {
            throw new IOException(exception.Message, exception);
        }
    }

    public ValueTask DisposeAsync()
    {
        _client?.Dispose();
        return ValueTask.CompletedTask;
    }

    private async Task ChangeAsync(Func<WorkerMetadata, WorkerMetadata> change, CancellationToken cancellationToken)
    {
        await _writing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var next = change(_applied);
            await RetryAsync(KubernetesFailures.Applying, token => ApplyAsync(next, token), cancellationToken).ConfigureAwait(false);
            _applied = next; // only now: a change that failed was never made
        }
        finally
        {
            _writing.Release();
        }
    }

    /// <param name="metadata">All records.</param>
    /// <param name="cancellationToken">Of the caller.</param>
    /// <param name="isTrial">The server checks rights and content, and keeps nothing.</param>
    private Task ApplyAsync(WorkerMetadata metadata, CancellationToken cancellationToken, bool isTrial = false)
    {
        var body = metadata.ToResource(Pod.ResourceName, Pod.PodName, Pod.PodUid);
        // Forced: the resource is ours alone, whoever touched it by hand.
        return Client.CustomObjects.PatchNamespacedCustomObjectAsync<JsonElement>(
            new V1Patch(body, V1Patch.PatchType.ApplyPatch),
            WorkerMetadata.Group,
            WorkerMetadata.Version,
            Pod.Namespace,
            WorkerMetadata.Plural,
            Pod.ResourceName,
            dryRun: isTrial ? "All" : null,
            fieldManager: FieldManager,
            force: true,
            cancellationToken: cancellationToken
        );
    }

    private async Task DeleteAsync(CancellationToken cancellationToken)
    {
        try
        {
            await Client
                .CustomObjects.DeleteNamespacedCustomObjectAsync<JsonElement>(
                    WorkerMetadata.Group,
                    WorkerMetadata.Version,
                    Pod.Namespace,
                    WorkerMetadata.Plural,
                    Pod.ResourceName,
                    cancellationToken: cancellationToken
                )
                .ConfigureAwait(false);
            LogDeletedFormer(_logger, Pod.ResourceName);
        }
        catch (HttpOperationException exception) when (exception.Response.StatusCode == HttpStatusCode.NotFound)
        {
            // The usual case: there was none.
        }
    }

    private async Task RetryAsync(string what, Func<CancellationToken, Task> call, CancellationToken cancellationToken)
    {
        var started = _time.GetTimestamp();
        for (var wait = _options.RetryWaitMax / 20; ; wait = wait * 2 < _options.RetryWaitMax ? wait * 2 : _options.RetryWaitMax)
        {
            try
            {
                await call(cancellationToken).ConfigureAwait(false);
                return;
            }
            catch (Exception exception) when (KubernetesFailures.IsOfApi(exception, cancellationToken))
            {
                var problem = _failures.Explain(what, exception);
                if (!KubernetesFailures.IsWorthAnotherTry(exception) || _time.GetElapsedTime(started) + wait > _options.RetryTimeLimit)
                {
                    throw new IOException(problem, exception);
                }

                LogRetrying(_logger, problem, wait.TotalSeconds);
                await Task.Delay(wait, _time, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private k8s.Kubernetes Connect()
    {
        try
        {
            var configuration = LoadConfiguration();
            configuration.HttpClientTimeout = _options.CallTimeLimit;
            return new k8s.Kubernetes(configuration);
        }
        catch (Exception exception)
            when (exception is KubeConfigException or IOException or UnauthorizedAccessException or YamlDotNet.Core.YamlException)
        {
            throw new InvalidOperationException(
                $"kubernetes discovery has no access to an API server ({exception.Message}); run in a pod with a service account, "
                    + "or set KUBECONFIG",
                exception
            );
        }
    }

    private KubernetesClientConfiguration LoadConfiguration()
    {
        var path = _options.KubeconfigPath ?? Environment.GetEnvironmentVariable("KUBECONFIG");
        if (!string.IsNullOrEmpty(path))
        {
            return KubernetesClientConfiguration.BuildConfigFromConfigFile(path);
        }

        return KubernetesClientConfiguration.IsInCluster()
            ? KubernetesClientConfiguration.InClusterConfig()
            : KubernetesClientConfiguration.BuildConfigFromConfigFile();
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
