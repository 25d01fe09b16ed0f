using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Transports.SystemServer;
using Microsoft.Extensions.Logging.Abstractions;
using StatusServer = Dynamo.Vllm.Transports.SystemServer.SystemServer;

namespace Dynamo.Vllm.IntegrationTests.SystemServer;

/// <summary>For tests that ask a status server over HTTP, one for each test.</summary>
public abstract class StatusServerTests : IAsyncLifetime
{
    private readonly StatusServer _server;

    protected StatusServerTests(EngineRoutes routes, AdapterRoutes? adapters = null, string metrics = "")
    {
        var health = new HealthState(canaryEnabled: false, startsReady: true, TimeProvider.System);
        _server = new StatusServer(
            new SystemServerOptions { Host = "127.0.0.1", Port = 0 },
            health,
            routes,
            new HostedFiles(),
            adapters,
            _ => Task.FromResult(metrics),
            () => null,
            NullLoggerFactory.Instance
        );
    }

    protected HttpClient Http { get; } = new();

    public async Task InitializeAsync()
    {
        await _server.StartAsync(CancellationToken.None);
        Http.BaseAddress = new Uri($"http://{_server.Address}");
    }

    public async Task DisposeAsync()
    {
        Http.Dispose();
        await _server.DisposeAsync();
    }
}
