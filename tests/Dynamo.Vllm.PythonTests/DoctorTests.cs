using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Servers;

namespace Dynamo.Vllm.PythonTests;

/// <summary><c>doctor</c> as a process, on a machine where a worker was killed and real servers run.</summary>
public sealed class DoctorTests : SimulatedWorkerTests
{
    private const string Password = "not-to-be-seen";

    [ServerFact(ServerPrograms.Etcd)]
    public async Task It_finds_what_a_worker_would_meet_and_tells_no_secret()
    {
        await using var etcd = await EtcdServer.StartAsync();
        await using var nats = await NatsServer.StartAsync($"authorization {{ user: worker, password: \"{Password}\" }}");
        var port = FreePorts.Next();
        var environment = new Dictionary<string, string>
        {
            ["DYN_DISCOVERY_BACKEND"] = "etcd",
            ["ETCD_ENDPOINTS"] = etcd.Url,
            ["NATS_SERVER"] = $"nats://worker:{Password}@127.0.0.1:{nats.Port}",
        };
        await using var worker = await StartAsync(["--grpc-port", $"{port}"], environment: environment);
        var free = FreePorts.Next();
        environment["DYN_SYSTEM_HOST"] = environment["DYN_TCP_RPC_HOST"] = "127.0.0.1";
        environment["DYN_SYSTEM_PORT"] = $"{free}";

        var beside = await ExamineAsync(environment, expectedCode: 1, "--grpc-port", $"{port}");
        Assert.Equal(
            "problem",
            Severity(beside, "ports", $":{port}: Address already in use, held by dotnet (process {worker.Process.Id})")
        );
        Assert.Equal("ok", Severity(beside, "ports", $"127.0.0.1:{free} is free"));
        Assert.Equal("ok", Severity(beside, "nats", $"nats://127.0.0.1:{nats.Port} answers in"));
        Assert.Equal("ok", Severity(beside, "discovery", "3 endpoints and 1 model cards are registered"));
        Assert.Equal("ok", Severity(beside, "discovery", $"model tiny of dynamo.backend.generate ({worker.Instance})"));
        Assert.Equal("ok", Severity(beside, "discovery", "connects in"));
        Assert.Equal("ok", Severity(beside, "discovery", "the clock of etcd and ours agree"));
        Assert.Equal("ok", Severity(beside, "model", "all can be read"));

        // Its lease lives on for 30 s.
        worker.Process.Signal("KILL");
        await worker.Process.ExitCodeAsync(Limit);
        var after = await ExamineAsync(environment, expectedCode: 0, "--grpc-port", $"{port}");
        Assert.Equal("ok", Severity(after, "ports", $":{port} is free"));
        Assert.Equal("warning", Severity(after, "discovery", "is registered, and cannot be connected to: Connection refused"));
        Assert.Equal(3, (await etcd.ReadAsync("v1/instances/")).Count); // it only looked
    }

    [Fact]
    public async Task What_is_missing_or_wrong_is_a_problem_with_its_name_and_the_rest_is_still_told()
    {
        var closed = FreePorts.Next();
        var environment = new Dictionary<string, string>
        {
            ["DYN_DISCOVERY_BACKEND"] = "etcd",
            ["ETCD_ENDPOINTS"] = $"http://root:{Password}@127.0.0.1:{closed}",
            ["NATS_SERVER"] = $"nats://worker:{Password}@127.0.0.1:{closed}",
            ["DYN_SYSTEM_PORT"] = "0",
        };

        var report = await ExamineAsync(environment, expectedCode: 1, "--model", "/nowhere");
        Assert.Equal("problem", Severity(report, "nats", $"NATS at nats://127.0.0.1:{closed} could not be reached"));
        Assert.Equal("problem", Severity(report, "discovery", $"could not reach http://127.0.0.1:{closed}"));
        Assert.Equal("problem", Severity(report, "model", "'/nowhere': there is no such folder"));
        Assert.Equal("ok", Severity(report, "python", "Python 3."));

        environment["DYN_DISCOVERY_BACKEND"] = "telepathy";
        report = await ExamineAsync(environment, expectedCode: 1);
        Assert.Equal("problem", Severity(report, "settings", "Unknown key-value store type 'telepathy'"));
        Assert.Equal("ok", Severity(report, "system", ".NET"));
    }

    private static async Task<JsonNode> ExamineAsync(Dictionary<string, string> environment, int expectedCode, params string[] more)
    {
        string[] model = more.Contains("--model") ? [] : ["--model", Path.Combine(SimulatedPaths.SimulatedEngine, "model")];
        await using var doctor = new ChildProcess(
            "doctor",
            "dotnet",
            [Path.Combine(AppContext.BaseDirectory, "Dynamo.Vllm.Worker.dll"), "doctor", "--json", "--simulated-engine", .. model, .. more],
            environment
        );
        var code = await doctor.ExitCodeAsync(Limit);
        var text = string.Join('\n', doctor.Lines);
        Assert.True(code == expectedCode, text);
        Assert.DoesNotContain(Password, text, StringComparison.Ordinal);
        var report = JsonNode.Parse(text)!;
        Assert.InRange((double)report["seconds"]!, 0.0, 9.0);
        return report;
    }

    /// <summary>Of the one finding with the text.</summary>
    private static string Severity(JsonNode report, string check, string text)
    {
        var found = report["findings"]!
            .AsArray()
            .Where(finding => (string?)finding!["check"] == check && ((string?)finding["seen"])!.Contains(text, StringComparison.Ordinal))
            .ToList();
        Assert.True(found.Count == 1, $"{found.Count} findings of {check} have '{text}' in\n{report}");
        return (string)found[0]!["severity"]!;
    }
}
