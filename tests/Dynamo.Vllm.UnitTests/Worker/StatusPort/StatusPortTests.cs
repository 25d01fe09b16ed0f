using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Worker.StatusPage;
using Dynamo.Vllm.Worker.StatusPort;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.UnitTests.Worker.StatusPort;

/// <summary>For tests that ask the status port's endpoints without a socket.</summary>
public abstract class StatusPortTests : IAsyncLifetime
{
    private readonly WebApplication _application;

    private protected StatusPortTests(EngineRoutes routes, StatusEndpointOptions? options = null)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseTestServer();
        builder.Services.AddRouting();
        builder.Services.AddSingleton<ILoggerFactory>(NullLoggerFactory.Instance);
        builder.Services.AddSingleton(Health);
        builder.Services.AddSingleton(routes);
        builder.Services.AddSingleton(Files);
        builder.Services.AddSingleton(new AdapterRoutes());
        builder.Services.AddSingleton<MetricsPage>();
        builder.Services.AddSingleton<MetadataPage>();
        builder.Services.AddSingleton<IStatusSource>(Source);
        builder.Services.AddSingleton(TimeProvider.System);
        _application = builder.Build().MapStatusEndpoints(options ?? new StatusEndpointOptions());
    }

    private protected HealthState Health { get; } = new(canaryEnabled: false, startsReady: true, TimeProvider.System);

    private protected HostedFiles Files { get; } = new();

    private protected FixedStatus Source { get; } = new();

    private protected HttpClient Http { get; private set; } = null!;

    public async Task InitializeAsync()
    {
        await _application.StartAsync();
        Http = _application.GetTestClient();
    }

    public async Task DisposeAsync()
    {
        Http.Dispose();
        await _application.DisposeAsync();
    }
}
