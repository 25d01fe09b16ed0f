using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Worker.GrpcRequests;
using Dynamo.Vllm.Worker.Hosting;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary><c>grpc.health.v1</c> and reflection on <c>--grpc-port</c>, for probes and tools that speak gRPC.</summary>
/// <remarks>The empty service name answers as the readiness path does, <c>live</c> as the liveness path does.</remarks>
internal static class GrpcHealth
{
    private const string Ready = "ready";
    private const string Live = "live";
    private const string Requests = "requests";

    /// <summary>How soon a caller that watches hears of a change. A check asks at once.</summary>
    private static readonly TimeSpan WatchInterval = TimeSpan.FromSeconds(1);

    /// <param name="services">The host's.</param>
    /// <param name="takesRequests">The services of vLLM's contracts have health of their own.</param>
    public static IServiceCollection AddGrpcHealth(this IServiceCollection services, bool takesRequests)
    {
        // Its answer to unknown services is a route of two segments, which would hide from other routes that a method is not theirs.
        services.AddGrpc(options => options.IgnoreUnknownServices = true);
        services.AddGrpcReflection();
        var checks = services
            .AddGrpcHealthChecks(options =>
            {
                options.Services.Clear();
                options.Services.Map("", check => check.Name == Ready);
                options.Services.Map(Ready, check => check.Name == Ready);
                options.Services.Map(Live, check => check.Name == Live);
                foreach (var service in takesRequests ? GrpcRequestServices.Names : [])
                {
                    options.Services.Map(service, check => check.Name == Requests);
                }
            })
            .Add(CheckOf(Ready, (health, _) => health.IsReady))
            .Add(CheckOf(Live, (health, isReady) => isReady ? health.IsReadyItself : health.IsLive));
        if (takesRequests)
        {
            checks.Add(RequestsCheck());
        }

        services.Configure<HealthCheckPublisherOptions>(options =>
        {
            options.Delay = TimeSpan.Zero;
            options.Period = WatchInterval;
        });
        return services;
    }

    public static void MapGrpcHealth(this IEndpointRouteBuilder routes)
    {
        routes.MapGrpcHealthChecksService();
        routes.MapGrpcReflectionService();
    }

    /// <summary>Callers here need no discovery, and hear at once that the worker will leave.</summary>
    private static HealthCheckRegistration RequestsCheck() =>
        new(
            Requests,
            provider =>
            {
                var intake = provider.GetRequiredService<GrpcIntake>();
                return new HealthStateCheck(
                    provider.GetRequiredService<HealthState>(),
                    health => health.IsReadyItself && intake.IsInviting
                );
            },
            failureStatus: null,
            tags: null
        );

    private static HealthCheckRegistration CheckOf(string name, Func<HealthState, bool, bool> isOk) =>
        new(
            name,
            provider =>
            {
                var liveIsReady = provider.GetRequiredService<WorkerSettings>().Arguments.Host.LiveIsReady;
                return new HealthStateCheck(provider.GetRequiredService<HealthState>(), health => isOk(health, liveIsReady));
            },
            failureStatus: null,
            tags: null
        );
}
