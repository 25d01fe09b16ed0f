using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Python.Platform;
using Dynamo.Vllm.Transports;
using Dynamo.Vllm.Transports.SystemServer;
using Dynamo.Vllm.Worker.Logging;
using Dynamo.Vllm.Worker.Stages;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>The worker as services of a host.</summary>
internal static class WorkerServices
{
    /// <summary>Adds everything that serves one engine to one Dynamo deployment.
    /// The order of the stages is the order of the worker's life.</summary>
    /// <remarks>The host brings <see cref="StandardOutputs"/> and logging.</remarks>
    public static IServiceCollection AddDynamoWorker(this IServiceCollection services, WorkerSettings settings)
    {
        services.AddSingleton(settings);
        services.TryAddSingleton(TimeProvider.System);
        services.AddStatus();

        services.AddStage<StatusServerStage>();
        services.AddStage<EngineArgumentsStage>();
        services.AddStage<PlanesStage>();
        services.AddStage<EngineStage>();
        services.AddStage<EventPlaneStage>();
        services.AddStage<EndpointsStage>();
        services.AddStage<AdaptersStage>();
        services.AddStage<RegistrationStage>();
        services.AddStage<WatchStage>();

        services.AddSingleton<WorkerLifetime>();
        services.AddSingleton<StorePatience>();
        services.AddSingleton<StopSteps>();
        services.AddSingleton<ModelCardSource>();
        services.AddSingleton<StageSequence>();
        services.AddSingleton<WorkerService>();
        services.AddHostedService(provider => provider.GetRequiredService<WorkerService>());
        return services;
    }

    /// <summary>What the status server shows; the stages fill it.</summary>
    private static void AddStatus(this IServiceCollection services)
    {
        services.AddSingleton(provider =>
        {
            var runtime = provider.GetRequiredService<WorkerSettings>().Runtime;
            var health = new HealthState(
                runtime.Health.CanariesEnabled,
                runtime.SystemServer.StartsReady,
                provider.GetRequiredService<TimeProvider>()
            );
            health.Hold(true); // until the worker is registered
            return health;
        });
        services.AddSingleton(provider =>
            ConnectionCaps.For(
                DescriptorLimit.Raise(),
                provider.GetRequiredService<TimeProvider>(),
                provider.GetRequiredService<ILogger<ConnectionCap>>()
            )
        );
        services.AddSingleton(provider =>
        {
            var page = new MetricsPage(provider.GetRequiredService<HealthState>());
            HostMetrics.AddTo(page.Worker, provider.GetRequiredService<StandardOutputs>(), provider.GetRequiredService<ConnectionCaps>());
            return page;
        });
        services.AddSingleton<MetadataPage>();
        services.AddSingleton<ServedEndpoints>();
        services.AddSingleton<EngineRoutes>();
        services.AddSingleton<HostedFiles>();
        services.AddSingleton<AdapterRoutes>();
    }

    private static void AddStage<TStage>(this IServiceCollection services)
        where TStage : class, IStage
    {
        services.AddSingleton<TStage>();
        services.AddSingleton<IStage>(provider => provider.GetRequiredService<TStage>());
    }
}
