using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Python.Platform;
using Dynamo.Vllm.Transports;
using Dynamo.Vllm.Worker.GrpcRequests;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.Logging;
using Dynamo.Vllm.Worker.StatusPage;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>What the status port shows; the stages fill it.</summary>
internal static class StatusServices
{
    /// <summary>A control call carries names and numbers, at most a list of tensors' names.</summary>
    private const long BodyBytesMax = 16 << 20;

    /// <summary>The state behind the endpoints.</summary>
    /// <remarks>The host brings <see cref="WorkerSettings"/>, <see cref="StandardOutputs"/>,
    /// <see cref="RecentProblems"/> and a clock.</remarks>
    public static IServiceCollection AddStatus(this IServiceCollection services, WorkerSettings settings)
    {
        services.AddRouting();
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
        services.AddSingleton<StatusSamples>();
        services.AddSingleton<IStatusSource, StatusSource>();
        services.AddSingleton<MetadataPage>();
        services.AddSingleton<EngineRoutes>();
        services.AddSingleton<HostedFiles>();
        services.AddSingleton<AdapterRoutes>();
        services.AddGrpcRequests(settings);
        return settings.Arguments.Host.GrpcPort is null ? services : services.AddGrpcHealth(settings.Arguments.Host.GrpcRequests);
    }

    /// <summary>Kestrel as the host's server, behind <see cref="StatusServer"/>.</summary>
    public static WebApplicationBuilder UseStatusServer(this WebApplicationBuilder builder)
    {
        builder
            .WebHost.UseKestrelCore()
            .ConfigureKestrel(kestrel =>
            {
                kestrel.AddServerHeader = false;
                kestrel.Limits.MaxRequestBodySize = BodyBytesMax;
            });
        // Kestrel takes the one that was added last.
        builder.Services.AddSingleton<IConnectionListenerFactory>(provider => new CappedListenerFactory(
            ActivatorUtilities.CreateInstance<SocketTransportFactory>(provider),
            provider.GetRequiredService<ConnectionCaps>().Status
        ));
        var kestrel = builder.Services.Last(service => service.ServiceType == typeof(IServer));
        builder.Services.Remove(kestrel);
        builder.Services.AddSingleton(provider =>
            ActivatorUtilities.CreateInstance<StatusServer>(
                provider,
                (IServer)ActivatorUtilities.CreateInstance(provider, kestrel.ImplementationType!)
            )
        );
        builder.Services.AddSingleton<IServer>(provider => provider.GetRequiredService<StatusServer>());
        return builder;
    }
}
