using System.Globalization;
using System.Net;
using Dynamo.Vllm.Testing;
using Grpc.Core;
using Grpc.Health.V1;
using Grpc.Net.Client;
using Grpc.Reflection.V1Alpha;
using Status = Grpc.Health.V1.HealthCheckResponse.Types.ServingStatus;

namespace Dynamo.Vllm.PythonTests;

/// <summary>The health service of <c>--grpc-port</c>, asked by Google's own client over a whole life of a worker.</summary>
public sealed class GrpcHealthTests : SimulatedWorkerTests
{
    [Fact]
    public async Task Checks_and_watchers_hear_what_the_probes_say()
    {
        var port = FreePorts.Next();
        await using var worker = await StartAsync(["--grpc-port", $"{port}"], grace: 3);
        using var channel = GrpcChannel.ForAddress($"http://127.0.0.1:{port}");
        var health = new Health.HealthClient(channel);
        Assert.Equal(Status.Serving, await StatusAsync(health, ""));
        Assert.Equal(Status.Serving, await StatusAsync(health, "ready"));
        Assert.Equal(Status.Serving, await StatusAsync(health, "live"));
        var unknown = await Assert.ThrowsAsync<RpcException>(() => StatusAsync(health, "nobody"));
        Assert.Equal(StatusCode.NotFound, unknown.StatusCode);

        // As a frozen engine is found: not ready, and yet alive.
        using var watch = health.Watch(new HealthCheckRequest { Service = "" });
        await HearsAsync(watch, Status.Serving);
        var core = worker.FindEngineCore();
        worker.Process.Signal("STOP", core);
        await HearsAsync(watch, Status.NotServing);
        Assert.Equal(Status.NotServing, await StatusAsync(health, ""));
        Assert.Equal(Status.Serving, await StatusAsync(health, "live"));
        worker.Process.Signal("CONT", core);
        await HearsAsync(watch, Status.Serving);

        worker.Process.Signal("TERM");
        await HearsAsync(watch, Status.NotServing);
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task The_port_lists_its_services_and_leads_to_nothing_else()
    {
        var port = FreePorts.Next();
        await using var worker = await StartAsync(
            ["--grpc-port", $"{port}", "--enable-lora"],
            environment: new Dictionary<string, string> { ["DYN_LORA_ENABLED"] = "true" }
        );
        using var channel = GrpcChannel.ForAddress($"http://127.0.0.1:{port}");
        using var reflection = new ServerReflection.ServerReflectionClient(channel).ServerReflectionInfo();
        await reflection.RequestStream.WriteAsync(new ServerReflectionRequest { ListServices = "" });
        Assert.True(await reflection.ResponseStream.MoveNext(CancellationToken.None));
        var services = reflection.ResponseStream.Current.ListServicesResponse.Service.Select(service => service.Name);
        Assert.Contains("grpc.health.v1.Health", services);

        using var http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        foreach (var path in new[] { "/health", "/metrics", "/engine/control/sleep" })
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, path)
            {
                Version = HttpVersion.Version20,
                VersionPolicy = HttpVersionPolicy.RequestVersionExact,
            };
            using var response = await http.SendAsync(request);
            Assert.Equal(HttpStatusCode.NotFound, response.StatusCode);
        }

        // And it changes nothing on the status port: a path of two parts looks like a call.
        using var wrong = await worker.Http.DeleteAsync("/v1/loras");
        Assert.Equal(HttpStatusCode.MethodNotAllowed, wrong.StatusCode);
        Assert.Equal(["GET", "HEAD", "POST"], wrong.Content.Headers.Allow);
    }

    [Fact]
    public async Task A_port_that_is_taken_ends_the_start_in_one_line()
    {
        using var taken = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var port = ((IPEndPoint)taken.LocalEndpoint).Port.ToString(CultureInfo.InvariantCulture);
        await using var worker = WorkerProcess.StartSimulated(Store, ["--grpc-port", port]);
        Assert.Equal(1, await worker.Process.ExitCodeAsync(Limit));
        Assert.Contains(
            worker.Process.Lines,
            line =>
                line.Contains($"error: --grpc-port {port}: cannot listen on 127.0.0.1: Address already in use", StringComparison.Ordinal)
        );
    }

    private static async Task<Status> StatusAsync(Health.HealthClient health, string service) =>
        (await health.CheckAsync(new HealthCheckRequest { Service = service })).Status;

    private static async Task HearsAsync(AsyncServerStreamingCall<HealthCheckResponse> watch, Status status)
    {
        using var limit = new CancellationTokenSource(Limit);
        do
        {
            Assert.True(await watch.ResponseStream.MoveNext(limit.Token), $"the watch ended and {status} was never heard");
        } while (watch.ResponseStream.Current.Status != status);
    }
}
