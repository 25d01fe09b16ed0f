using System.Net;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.IntegrationTests.Zmq;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Testing.Relay;
using Dynamo.Vllm.Transports.Zmq;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.IntegrationTests.KvEvents;

using Dynamo.Vllm.Testing;

/// <summary>The official worker on the real engine, with a relay of ours as
/// a second subscriber of that engine. Takes a minute: opt in.</summary>
public sealed class RealEngineTests
{
    [RealEngineFact]
    public async Task Our_events_of_a_real_engine_equal_those_of_the_official_worker()
    {
        using var store = new TemporaryFolder();
        var port = FreePorts.Next();
        var variables = Peers.Variables(store.Path);
        await using var frontend = Frontend.Start(variables, "--router-mode", "kv");
        await using var worker = StartWorker(variables, port);
        await using var plane = new EventPlaneFake();
        await using var registration = new WorkerRegistration(
            new RecordingDiscovery(),
            new RequestPlaneFake(),
            "cpu",
            PayloadCodec.MessagePack,
            TimeProvider.System,
            NullLogger<WorkerRegistration>.Instance
        );
        await registration.JoinAsync(CancellationToken.None);
        await using var relay = Relay(plane, registration, port);

        // The real engine takes 25 s on idle cores, and more on busy ones.
        await frontend.WaitAsync("the model is not listed", TimeSpan.FromMinutes(3), frontend.HasModelAsync);
        await relay.StartAsync(CancellationToken.None);
        await using var official = ZmqPeer.Start("sub", OfficialEndpoint(store.Path), "kv-events");
        await Task.Delay(2000); // libzmq tells nobody when a subscription has arrived
        foreach (var name in (string[])["alpha", "omega", "alpha", "sigma", "kappa", "lambda"])
        {
            Assert.Equal(
                HttpStatusCode.OK,
                (await frontend.CompleteAsync(Body(string.Join(' ', Enumerable.Range(0, 60).Select(i => $"{name} {i}"))))).Status
            );
        }

        for (var message = 0; message < 5; message++) // the repeated prompt is a hit, and a hit is no event
        {
            var expected = Events((await official.ReadFramesAsync())[3].AsSpan(5));
            var actual = Events((await plane.NextAsync()).Envelope);
            Assert.NotEmpty(expected.AsArray());
            Assert.True(JsonNode.DeepEquals(expected, actual), $"{expected.ToJsonString()}\n{actual.ToJsonString()}");
        }
    }

    private static JsonObject Body(string prompt) =>
        new()
        {
            ["model"] = "tiny",
            ["prompt"] = prompt,
            ["max_tokens"] = 1,
        };

    /// <summary>Events with the ids that differ by nature taken out.</summary>
    private static JsonNode Events(ReadOnlySpan<byte> envelope)
    {
        var reader = new MessagePackReader(envelope);
        for (var i = reader.ReadMapHeader(); i > 0; i--)
        {
            if (reader.ReadString() != "payload")
            {
                reader.Skip();
                continue;
            }

            var payload = new MessagePackReader(reader.ReadBinary());
            var events = JsonNode.Parse(MessagePackJson.ReadAsJson(ref payload))!;
            foreach (var entry in events.AsArray())
            {
                entry!.AsObject().Remove("worker_id");
            }

            return events;
        }

        throw new InvalidOperationException("the envelope has no payload");
    }

    private static KvRelayService Relay(EventPlaneFake plane, WorkerRegistration registration, int port) =>
        new(
            new KvRelayOptions { PublishesLoad = false, PublishesFirstTokens = false },
            new EngineFake(
                new EngineDescription
                {
                    EngineVersion = "0.31.0",
                    Model = "tiny",
                    MaxModelLength = 1024,
                    BlockSize = 32,
                    KvEventBlockSize = 32,
                    MaxNumSeqs = 8,
                    MaxNumBatchedTokens = 2048,
                    NumGpuBlocks = 48,
                    KvEventsEndpoint = $"tcp://*:{port}",
                }
            ),
            new EndpointId("dynamo", "backend", "generate"),
            registration,
            plane,
            new ZmqEventFeed(TimeProvider.System),
            new RuntimeMetrics(Prometheus.Metrics.NewCustomRegistry(), "test"),
            TimeProvider.System,
            NullLogger<KvRelayService>.Instance
        );

    private static string OfficialEndpoint(string discovery)
    {
        var records = Directory
            .GetFiles(Path.Combine(discovery, "v1/event_channels"))
            .Where(path => !Path.GetFileName(path).StartsWith('.'))
            .Select(path => JsonNode.Parse(File.ReadAllText(path))!);
        return records.Single(record => record["topic"]!.GetValue<string>() == "kv-events")["transport"]!["config"]![
            "endpoint"
        ]!.GetValue<string>();
    }

    private static ChildProcess StartWorker(Dictionary<string, string> variables, int port) =>
        new(
            "dynamo.vllm",
            Peers.Python,
            [
                "-m",
                "dynamo.vllm",
                "--model",
                Peers.TinyModel,
                "--served-model-name",
                "tiny",
                "--max-model-len",
                "1024",
                "--enforce-eager",
                "--block-size",
                "32",
                "--num-gpu-blocks-override",
                "48",
                .. KvEventFlags.On(port),
            ],
            variables
        );

    /// <summary>Runs with DYNAMO_REAL_ENGINE=1 only.</summary>
    private sealed class RealEngineFactAttribute : FactAttribute
    {
        public RealEngineFactAttribute() =>
            Skip =
                Environment.GetEnvironmentVariable("DYNAMO_REAL_ENGINE") == "1"
                    ? PeerFactAttribute.SkipReason
                    : "starts a real engine: set DYNAMO_REAL_ENGINE=1";
    }
}
