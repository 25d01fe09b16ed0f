using System.Net;
using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Transports.SystemServer;
using Dynamo.Vllm.Worker.Hosting;

namespace Dynamo.Vllm.Worker.Stages;

/// <summary>Probes, metrics and control calls over HTTP: up before anything that may take long, and down last.</summary>
internal sealed class StatusServerStage : IStage
{
    private readonly SystemServer? _server;

    public StatusServerStage(
        WorkerSettings settings,
        ConnectionCaps connections,
        HealthState health,
        EngineRoutes routes,
        HostedFiles files,
        AdapterRoutes adapters,
        MetricsPage metrics,
        MetadataPage metadata,
        ILoggerFactory loggers
    )
    {
        var options = settings.Runtime.SystemServer;
        if (options.IsEnabled)
        {
            _server = new SystemServer(
                new SystemServerOptions
                {
                    Host = options.Host,
                    Port = options.Port,
                    Connections = connections.Status,
                    HealthPath = options.HealthPath,
                    LivePath = options.LivePath,
                    LiveIsReady = settings.Arguments.Host.LiveIsReady,
                },
                health,
                routes,
                files,
                settings.Runtime.Lora.Enabled ? adapters : null,
                metrics.RenderAsync,
                () => metadata.Current,
                loggers
            );
        }
    }

    public string Name => "status server";

    public TimeSpan DownLimit => SystemServer.StopLimit;

    /// <summary>Where it listens, or null where it does not.</summary>
    public IPEndPoint? Address => _server?.Address;

    public Task UpAsync(CancellationToken cancellationToken) => _server?.StartAsync(cancellationToken) ?? Task.CompletedTask;

    public Task DownAsync(StopCause cause) => _server?.DisposeAsync().AsTask() ?? Task.CompletedTask;
}
