using Dynamo.Vllm.Core;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Worker.Configuration.Options;
using Dynamo.Vllm.Worker.Control;
using Dynamo.Vllm.Worker.Logging;
using Dynamo.Vllm.Worker.ServiceManager;
using Dynamo.Vllm.Worker.Stages;
using Dynamo.Vllm.Worker.StartUp;
using Dynamo.Vllm.Worker.StatusPort;
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
        services.TryAddSingleton<IIdSource, RandomIds>();
        services.AddStatus(settings);

        services.AddStage<TelemetryStage>();
        services.AddStage<EngineArgumentsStage>();
        services.AddStage<ModelStage>();
        var isHeadless = settings.Options.Get(VllmOptions.Headless);
        services.AddStage<HeadlessStage>(isHeadless);
        services.AddStage<PlanesStage>(!isHeadless);
        services.AddStage<EngineStage>(!isHeadless);
        services.AddStage<EventPlaneStage>(!isHeadless);
        services.AddStage<BenchmarkStage>(!isHeadless);
        services.AddStage<EncodersStage>(!isHeadless);
        services.AddStage<EndpointsStage>(!isHeadless);
        services.AddStage<AdaptersStage>(!isHeadless);
        services.AddStage<RegistrationStage>(!isHeadless);
        services.AddStage<WatchStage>(!isHeadless);

        services.AddSingleton<ServedEndpoints>();
        services.AddSingleton<WorkerLifetime>();
        services.AddSingleton<LoopPulses>();
        services.AddSingleton<Reload>();
        services.AddSingleton<IStartSource, StartSource>();
        services.AddSingleton<StartProgress>();
        services.AddServiceManager();
        services.AddSingleton<StorePatience>();
        services.AddSingleton<StopSteps>();
        services.AddSingleton<ModelCardSource>();
        services.AddSingleton<StageSequence>();
        services.AddSingleton<StopAllowance>();
        services.AddSingleton<StateMetrics>();
        services.AddSingleton<WorkerService>();
        services.AddHostedService(provider => provider.GetRequiredService<WorkerService>());
        return services;
    }

    /// <param name="services">The host's.</param>
    /// <param name="isLived">It is part of the worker's life; otherwise it is only there to be asked, and never comes up.</param>
    private static void AddStage<TStage>(this IServiceCollection services, bool isLived = true)
        where TStage : class, IStage
    {
        services.AddSingleton<TStage>();
        if (isLived)
        {
            services.AddSingleton<IStage>(provider => provider.GetRequiredService<TStage>());
        }
    }
}
