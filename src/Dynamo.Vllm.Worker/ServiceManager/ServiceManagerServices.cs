using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.Stages;
using Dynamo.Vllm.Worker.StartUp;
using Dynamo.Vllm.Worker.StatusPort;
using Microsoft.Extensions.Hosting.Systemd;

namespace Dynamo.Vllm.Worker.ServiceManager;

/// <summary>The worker under systemd, as services of a host.</summary>
internal static class ServiceManagerServices
{
    /// <summary>Reports to whoever listens at <c>NOTIFY_SOCKET</c>, and to nobody where that is not set.</summary>
    /// <remarks>Why not <c>AddSystemd</c>: docs/decisions/0009-service-manager.md.</remarks>
    public static IServiceCollection AddServiceManager(this IServiceCollection services)
    {
        services.AddSingleton<ISystemdNotifier>(provider => new NotifyQueue(
            new SystemdNotifier(),
            provider.GetRequiredService<ILogger<NotifyQueue>>()
        ));
        services.AddSingleton(provider =>
            WatchdogSetting.Read(provider.GetRequiredService<WorkerSettings>().Environment, Environment.ProcessId)
        );
        services.AddSingleton(CreatePatience);
        services.AddSingleton(CreateStatus);
        services.AddSingleton<ServiceReport>();
        return services;
    }

    private static StartPatience CreatePatience(IServiceProvider provider)
    {
        var arguments = provider.GetRequiredService<EngineArgumentsStage>();
        var limits = provider.GetRequiredService<WorkerSettings>().Arguments.Host.Stalls;
        return new StartPatience(
            () => arguments.IsEngineOnThisHost ? LoadWork.Read(arguments.Fetched?.BytesDone ?? 0) : null,
            limits.IsOff ? null : limits.GiveUp,
            provider.GetRequiredService<TimeProvider>()
        );
    }

    private static StatusLine CreateStatus(IServiceProvider provider)
    {
        var arguments = provider.GetRequiredService<EngineArgumentsStage>();
        var registration = provider.GetRequiredService<RegistrationStage>();
        var probes = provider.GetRequiredService<StatusServer>();
        return new StatusLine(
            provider.GetRequiredService<StageSequence>(),
            provider.GetRequiredService<HealthState>(),
            () => provider.GetRequiredService<ServedEndpoints>().Running,
            () =>
                $"{arguments.Configuration.ServedModelName} as {registration.Place}"
                + (probes.Address is { } address ? $"; probes at http://{address}" : ""),
            () => provider.GetRequiredService<StartProgress>().Now
        );
    }
}
