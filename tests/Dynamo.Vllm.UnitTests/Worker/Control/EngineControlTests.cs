using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Health.Stalls;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Testing.Relay;
using Dynamo.Vllm.UnitTests.Core;
using Dynamo.Vllm.Worker.Control;
using Dynamo.Vllm.Worker.StatusPort;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.UnitTests.Worker.Control;

/// <summary>Bodies of every type, with the answers that the official worker gave to them.</summary>
public sealed class EngineControlTests
{
    private readonly ScriptedEngine _engine = new();
    private readonly EngineRoutes _routes = new();
    private readonly AdapterTable _adapters = new(new AdapterLimits());

    public EngineControlTests()
    {
        var registration = new WorkerRegistration(
            new RecordingDiscovery(),
            new RequestPlaneFake(),
            "cpu",
            PayloadCodec.MessagePack,
            TimeProvider.System,
            NullLogger<WorkerRegistration>.Instance,
            new InstanceId(1)
        );
        var calls = new ControlCalls(_routes, new ExpectedSilence(), registration);
        new EngineControl(
            calls,
            new GenerationPause(),
            _engine.Control,
            registration,
            Endpoints.Create(),
            _adapters,
            (_, _) => Task.CompletedTask
        ).AddCalls();
    }

    [Theory]
    [InlineData("liveness_probe", "null", """{"status":"ok","alive":true}""")]
    [InlineData("liveness_probe", "[1]", """{"status":"error","message":"request body must be a JSON object"}""")]
    [InlineData("control/stop_profile", "[1]", """{"status":"ok","message":"Profiling stopped"}""")]
    [InlineData("control/sleep", "null", """{"status":"ok","message":"Engine slept (level=1)"}""")]
    [InlineData("control/sleep", """{"level":null}""", """{"status":"ok","message":"Engine slept (level=None)"}""")]
    [InlineData("control/sleep", """{"level":true}""", """{"status":"ok","message":"Engine slept (level=True)"}""")]
    [InlineData("control/sleep", """{"level":1.5}""", """{"status":"ok","message":"Engine slept (level=1.5)"}""")]
    [InlineData("control/sleep", """{"level":1.0}""", """{"status":"ok","message":"Engine slept (level=1.0)"}""")]
    [InlineData("control/sleep", """{"level":1E5}""", """{"status":"ok","message":"Engine slept (level=100000.0)"}""")]
    [InlineData("control/sleep", """{"level":1e16}""", """{"status":"ok","message":"Engine slept (level=1e+16)"}""")]
    [InlineData("control/sleep", """{"level":0.00001}""", """{"status":"ok","message":"Engine slept (level=1e-05)"}""")]
    [InlineData("control/sleep", """{"level":-0.0}""", """{"status":"ok","message":"Engine slept (level=-0.0)"}""")]
    [InlineData(
        "control/sleep",
        """{"level":123456789012345678901234567890}""",
        """{"status":"ok","message":"Engine slept (level=1.2345678901234568e+29)"}"""
    )]
    [InlineData("control/sleep", "5", """{"status":"error","message":"request body must be a JSON object"}""")]
    [InlineData("pause_generation", """{"mode":3}""", """{"status":"error","message":"Invalid mode '3'; expected keep|wait|abort"}""")]
    [InlineData(
        "pause_generation",
        """{"mode":null}""",
        """{"status":"error","message":"Invalid mode 'None'; expected keep|wait|abort"}"""
    )]
    [InlineData(
        "pause_generation",
        """{"mode":["keep"]}""",
        """{"status":"error","message":"Invalid mode '['keep']'; expected keep|wait|abort"}"""
    )]
    [InlineData(
        "pause_generation",
        """{"mode":["it's"]}""",
        """{"status":"error","message":"Invalid mode '[\"it's\"]'; expected keep|wait|abort"}"""
    )]
    [InlineData(
        "pause_generation",
        """{"mode":{"a":1}}""",
        """{"status":"error","message":"Invalid mode '{'a': 1}'; expected keep|wait|abort"}"""
    )]
    [InlineData(
        "pause_generation",
        """{"clear_cache":3}""",
        """{"status":"ok","message":"Engine paused","mode":"keep","clear_cache":true}"""
    )]
    [InlineData(
        "pause_generation",
        """{"clear_cache":""}""",
        """{"status":"ok","message":"Engine paused","mode":"keep","clear_cache":false}"""
    )]
    [InlineData(
        "pause_generation",
        """{"clear_cache":{}}""",
        """{"status":"ok","message":"Engine paused","mode":"keep","clear_cache":false}"""
    )]
    [InlineData("abort_request", "{}", """{"status":"error","message":"Missing 'request_id' in body"}""")]
    [InlineData("abort_request", """{"request_id":[]}""", """{"status":"error","message":"Missing 'request_id' in body"}""")]
    [InlineData("abort_request", """{"request_id":5}""", """{"status":"error","message":"'int' object is not iterable"}""")]
    [InlineData("abort_request", """{"request_id":true}""", """{"status":"error","message":"'bool' object is not iterable"}""")]
    [InlineData("abort_request", """{"request_id":["a"]}""", """{"status":"error","message":"unhashable type: 'list'"}""")]
    [InlineData("abort_request", """{"request_id":"nope"}""", """{"status":"ok","request_id":"nope"}""")]
    public async Task Bodies_are_taken_as_the_reference_takes_them(string route, string body, string answer)
    {
        var ours = await CallAsync(route, body);
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse(answer), ours), ours.ToJsonString());
    }

    [Fact]
    public async Task A_pause_that_keeps_requests_is_refused_while_an_adapter_has_some()
    {
        using (var change = await _adapters.BeginChangeAsync("x", default))
        {
            change.Set(new LoadedAdapter("x", 1, "/x"));
        }

        using (await _adapters.AdmitAsync("x", default))
        {
            Assert.Equal(
                """{"status":"error","message":"Cannot pause generation in keep mode with active LoRA requests: x"}""",
                (await CallAsync("pause_generation", "{}")).ToJsonString()
            );
            Assert.Equal("ok", (string?)(await CallAsync("pause_generation", """{"mode":"wait"}"""))["status"]);
            await Assert.ThrowsAsync<RequestFailedException>(() => _adapters.AdmitAsync("x", default).AsTask());
            await CallAsync("resume_generation", "{}");
        }

        Assert.Equal("ok", (string?)(await CallAsync("pause_generation", "{}"))["status"]);
        await CallAsync("resume_generation", "{}");
        _engine.Control.OnCall = _ => throw new EngineCallException("unknown", "RuntimeError", "no");
        Assert.Equal("error", (string?)(await CallAsync("pause_generation", "{}"))["status"]);
        (await _adapters.AdmitAsync("x", default))!.Dispose(); // the pause that failed is none
    }

    [Theory]
    [InlineData("[1]", "list")]
    [InlineData("5", "int")]
    [InlineData("null", "NoneType")]
    [InlineData("\"x\"", "str")]
    public async Task Only_the_profiler_s_start_fails_for_a_body_that_is_no_object(string body, string type)
    {
        var failure = await Assert.ThrowsAsync<EngineRouteException>(() => CallAsync("control/start_profile", body));
        Assert.Equal($"AttributeError: '{type}' object has no attribute 'get'", failure.Message);
    }

    [Theory]
    [InlineData("[1]")]
    [InlineData("null")]
    public async Task Taints_that_are_no_object_are_refused(string body)
    {
        var failure = await Assert.ThrowsAsync<EngineRouteException>(() => CallAsync("update/model_taints", body));
        Assert.Equal("ValueError: request body must be a JSON object", failure.Message);
    }

    [Fact]
    public async Task What_the_engine_does_not_take_is_its_answer_and_the_engine_goes_on()
    {
        const string problem = "'>=' not supported between instances of 'str' and 'int'";
        _engine.Control.OnCall = call =>
        {
            if (call == "Sleep")
            {
                throw new EngineCallException("invalid_argument", "TypeError", problem);
            }
        };
        Assert.Equal(problem, (await CallAsync("control/sleep", """{"level":"deep"}"""))["message"]!.GetValue<string>());
        Assert.Equal("Engine already awake", (await CallAsync("control/wake_up", "{}"))["message"]!.GetValue<string>());
    }

    [Fact]
    public async Task A_sleep_that_fails_on_our_side_leaves_no_engine_paused()
    {
        var calls = new List<string>();
        _engine.Control.OnCall = call =>
        {
            calls.Add(call);
            if (call == "Sleep")
            {
                throw new JsonException("cannot be written");
            }
        };
        await Assert.ThrowsAsync<JsonException>(() => CallAsync("control/sleep", "{}"));
        Assert.Equal(["Pause", "Sleep", "Resume"], calls);
        Assert.Equal("Engine already awake", (await CallAsync("control/wake_up", "{}"))["message"]!.GetValue<string>());
    }

    private async Task<JsonObject> CallAsync(string route, string body) =>
        await _routes.Find(route)!(JsonNode.Parse(body), CancellationToken.None);
}
