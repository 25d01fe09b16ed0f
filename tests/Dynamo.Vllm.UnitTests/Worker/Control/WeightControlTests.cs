using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Health.Stalls;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Testing.Relay;
using Dynamo.Vllm.UnitTests.Core;
using Dynamo.Vllm.Worker.Control;
using Dynamo.Vllm.Worker.StatusPort;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.UnitTests.Worker.Control;

/// <summary>New weights and another number of ranks, with the answers that the official worker gave.</summary>
public sealed class WeightControlTests
{
    private const string Paused =
        "Worker must be paused via pause_generation() before updating weights. Call pause_generation() first, then update, "
        + "then resume_generation().";

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);

    private readonly ScriptedControl _engine = new();
    private readonly EngineRoutes _routes = new();
    private readonly GenerationPause _pause = new();
    private readonly WorkerRegistration _registration = new(
        new RecordingDiscovery(),
        new RequestPlaneFake(),
        "cpu",
        PayloadCodec.MessagePack,
        TimeProvider.System,
        NullLogger<WorkerRegistration>.Instance,
        new InstanceId(1)
    );
    private readonly List<string> _fatal = [];

    public WeightControlTests()
    {
        var calls = new ControlCalls(_routes, new ExpectedSilence(), _registration);
        new EngineControl(
            calls,
            _pause,
            _engine,
            _registration,
            Endpoints.Create(),
            adapters: null,
            (_, _) => Task.CompletedTask
        ).AddCalls();
        AddWeights(calls, groupTimeout: null);
        new ElasticControl(calls, _engine, _fatal.Add).AddCalls();
    }

    [Theory]
    [InlineData("update_weights_from_disk", "{}", Paused)]
    [InlineData("update_weights_from_distributed", "{}", Paused)]
    [InlineData("update_weights_from_distributed", """{"allow_unpaused":1}""", "'allow_unpaused' must be a boolean")]
    [InlineData("update_weights_from_distributed", """{"reset_prefix_cache":null}""", "'reset_prefix_cache' must be a boolean")]
    [InlineData(
        "update_weights_from_distributed",
        """{"allow_unpaused":true}""",
        "Unpaused weight updates cannot reset the prefix cache. Set 'reset_prefix_cache' to false or pause generation first."
    )]
    [InlineData("update_weights_from_tensor", "{}", "update_weights_from_tensor is not implemented")]
    [InlineData("update_weights_from_tensor", "[1]", "request body must be a JSON object")]
    [InlineData("control/scale_elastic_ep", "{}", "Missing required field: new_data_parallel_size")]
    [InlineData(
        "control/scale_elastic_ep",
        """{"new_data_parallel_size":"x'y"}""",
        "new_data_parallel_size must be an integer, got: \"x'y\""
    )]
    [InlineData("control/scale_elastic_ep", """{"new_data_parallel_size":1.5}""", "new_data_parallel_size must be an integer, got: 1.5")]
    [InlineData("control/scale_elastic_ep", """{"new_data_parallel_size":true}""", "new_data_parallel_size must be an integer, got: True")]
    [InlineData("control/scale_elastic_ep", """{"new_data_parallel_size":-3.0}""", "new_data_parallel_size must be >= 1, got: -3")]
    [InlineData("set_weight_version", "{}", "Missing 'weight_version' in body")]
    public async Task What_is_not_allowed_is_refused_before_the_engine_hears_of_it(string route, string body, string message)
    {
        var answer = await CallAsync(route, body);
        Assert.Equal(("error", message), (answer["status"]!.GetValue<string>(), answer["message"]!.GetValue<string>()));
        Assert.Empty(_engine.Calls);
    }

    [Theory]
    [InlineData(
        "update_weights_from_disk",
        """{"model_path":"/w"}""",
        """reload_weights {"weights_path":"/w"}""",
        """{"status":"ok","version":"unknown","version_declared":false}"""
    )]
    [InlineData(
        "update_weights_from_disk",
        """{"model_path":"/w","engine_rpc":"own","weight_version":7}""",
        """own {"weight_path":"/w"}""",
        """{"status":"ok","version":7,"version_declared":true}"""
    )]
    [InlineData(
        "update_weights_from_distributed",
        """{"engine_rpc":"take","reset_prefix_cache":true,"names":["a"],"shapes":[[1,2]],"weight_version":null}""",
        """take {"names":["a"],"shapes":[[1,2]]}""",
        """{"status":"ok","version":null,"version_declared":true}"""
    )]
    public async Task New_weights_come_while_generation_is_paused_and_the_old_ones_blocks_go(
        string route,
        string body,
        string call,
        string answer
    )
    {
        await CallAsync("pause_generation", "{}");
        Assert.Equal(answer, (await CallAsync(route, body)).ToJsonString());
        Assert.Equal(call, _engine.WorkersCall);
        Assert.Equal(["Pause", "CallWorkers", "ResetPrefixCache"], _engine.Calls);
        Assert.Equal(
            JsonNode.Parse(answer)!["version_declared"]!.GetValue<bool>(),
            (await CallAsync("get_weight_version", "{}"))["version_declared"]!.GetValue<bool>()
        );
    }

    [Theory]
    [InlineData("3")]
    [InlineData("1.0")]
    [InlineData("null")]
    [InlineData("true")]
    [InlineData("[1]")]
    [InlineData("\"v1\"")]
    public async Task A_weight_version_is_kept_as_it_came(string version)
    {
        Assert.Equal(
            $"{{\"status\":\"ok\",\"version\":{version}}}",
            (await CallAsync("set_weight_version", $"{{\"weight_version\":{version}}}")).ToJsonString()
        );
        Assert.Equal(
            $"{{\"status\":\"ok\",\"version\":{version},\"version_declared\":true}}",
            (await CallAsync("get_weight_version", "{}")).ToJsonString()
        );
    }

    [Fact]
    public async Task An_update_that_fails_declares_nothing_and_keeps_the_blocks()
    {
        await CallAsync("pause_generation", "{}");
        _engine.OnCall = _ => throw new EngineCallException("unknown", "Exception", "no such file");
        var answer = await CallAsync("update_weights_from_disk", """{"model_path":"/w","weight_version":1}""");
        Assert.Equal("""{"status":"error","message":"no such file"}""", answer.ToJsonString());
        Assert.Equal(["Pause", "CallWorkers"], _engine.Calls);
        Assert.False((await CallAsync("get_weight_version", "{}"))["version_declared"]!.GetValue<bool>());

        // The next request would end an engine without weights.
        _engine.OnCall = _ => { };
        Assert.StartsWith("The engine has no weights", (await CallAsync("resume_generation", "{}"))["message"]!.ToString());
        Assert.Equal("ok", (await CallAsync("update_weights_from_disk", """{"model_path":"/v"}"""))["status"]!.GetValue<string>());
        Assert.Equal("ok", (await CallAsync("resume_generation", "{}"))["status"]!.GetValue<string>());
    }

    [Fact]
    public async Task Generation_goes_on_only_after_the_weights_are_there()
    {
        await CallAsync("pause_generation", "{}");
        var loaded = new TaskCompletionSource();
        _engine.OnCallAsync = call => call == "CallWorkers" ? loaded.Task : Task.CompletedTask;
        var update = CallAsync("update_weights_from_disk", """{"model_path":"/w"}""");
        var resume = CallAsync("resume_generation", "{}");
        Assert.DoesNotContain("Resume", _engine.Calls);
        loaded.SetResult();
        await update.WaitAsync(Limit);
        await resume.WaitAsync(Limit);
        Assert.Equal(["Pause", "CallWorkers", "ResetPrefixCache", "Resume"], _engine.Calls);
        Assert.Contains("must be paused", (await CallAsync("update_weights_from_disk", """{"model_path":"/w"}"""))["message"]!.ToString());
    }

    [Fact]
    public async Task A_worker_that_leaves_takes_no_new_weights_but_lets_requests_go_on()
    {
        await CallAsync("pause_generation", "{}");
        await _registration.WithdrawAllAsync(CancellationToken.None);
        foreach (
            var (route, body) in ((string, string)[])
                [
                    ("update_weights_from_disk", """{"model_path":"/w"}"""),
                    ("update_weights_from_distributed", "{}"),
                    ("init_weights_update_group", "{}"),
                    ("control/scale_elastic_ep", """{"new_data_parallel_size":2}"""),
                    ("control/sleep", "{}"),
                    ("pause_generation", "{}"),
                ]
        )
        {
            Assert.Equal("error", (await CallAsync(route, body))["status"]!.GetValue<string>());
        }

        Assert.Equal(["Pause"], _engine.Calls);
        Assert.Equal("ok", (await CallAsync("abort_request", """{"request_id":"x"}"""))["status"]!.GetValue<string>());
        Assert.Equal("ok", (await CallAsync("resume_generation", "{}"))["status"]!.GetValue<string>());
    }

    [Fact]
    public async Task A_group_that_does_not_come_together_ends_the_worker()
    {
        AddWeights(new ControlCalls(_routes, new ExpectedSilence(), _registration), groupTimeout: "0.01");
        var never = new TaskCompletionSource();
        _engine.OnCallAsync = _ => never.Task;
        var answer = await CallAsync("init_weights_update_group", """{"world_size":2}""").WaitAsync(Limit);
        Assert.Equal("error", answer["status"]!.GetValue<string>());
        Assert.StartsWith("init_weights_update_group timed out after 0.0 seconds", Assert.Single(_fatal), StringComparison.Ordinal);
        Assert.Equal("""init_broadcaster {"world_size":2}""", _engine.WorkersCall);
    }

    [Fact]
    public async Task A_limit_that_is_no_number_is_said_and_nothing_is_begun()
    {
        AddWeights(new ControlCalls(_routes, new ExpectedSilence(), _registration), groupTimeout: "soon");
        Assert.Equal(
            "could not convert string to float: 'soon'",
            (await CallAsync("init_weights_update_group", "{}"))["message"]!.GetValue<string>()
        );
        Assert.Empty(_engine.Calls);
    }

    [Theory]
    [InlineData(
        """{"enable_elastic_ep":false,"data_parallel_backend":"ray","tensor_parallel_size":1}""",
        "elastic EP scaling is not enabled on this worker; it requires enable_elastic_ep=true and data_parallel_backend=ray"
    )]
    [InlineData(
        """{"enable_elastic_ep":true,"data_parallel_backend":"ray","tensor_parallel_size":1,"prefill_context_parallel_size":2}""",
        "elastic EP scaling is not supported when prefill_context_parallel_size > 1 (got 2); vLLM sizes the EP world as "
            + "data_parallel_size * tensor_parallel_size and does not support prefill-context parallelism alongside data parallelism"
    )]
    [InlineData(
        """{"enable_elastic_ep":true,"data_parallel_backend":"ray","tensor_parallel_size":1}""",
        "tensor_parallel_size * new_data_parallel_size must be > 1 when elastic EP/ePLB is enabled, but got tensor_parallel_size=1, "
            + "new_data_parallel_size=1"
    )]
    public async Task An_engine_that_cannot_grow_is_left_alone(string parallelism, string message)
    {
        _engine.Parallelism = JsonNode.Parse(parallelism)!.AsObject();
        Assert.Equal(
            message,
            (await CallAsync("control/scale_elastic_ep", """{"new_data_parallel_size":"1"}"""))["message"]!.GetValue<string>()
        );
        Assert.Equal(["ReadParallelism"], _engine.Calls);
        Assert.Empty(_fatal);
    }

    [Fact]
    public async Task One_change_of_the_ranks_at_a_time_and_one_that_fails_ends_the_worker()
    {
        _engine.Parallelism = JsonNode
            .Parse("""{"enable_elastic_ep":true,"data_parallel_backend":"ray","tensor_parallel_size":1}""")!
            .AsObject();
        var scaled = new TaskCompletionSource();
        _engine.OnCallAsync = call => call == "Scale" ? scaled.Task : Task.CompletedTask;
        var first = CallAsync("control/scale_elastic_ep", """{"new_data_parallel_size":4.0}""");
        Assert.Equal(
            "A scale_elastic_ep operation is already in progress; rejecting concurrent request for new_data_parallel_size=2",
            (await CallAsync("control/scale_elastic_ep", """{"new_data_parallel_size":2}"""))["message"]!.GetValue<string>()
        );
        scaled.SetResult();
        Assert.Equal(
            """{"status":"ok","message":"Scaled to data_parallel_size=4","new_data_parallel_size":4}""",
            (await first.WaitAsync(Limit)).ToJsonString()
        );
        _engine.OnCallAsync = call =>
            call == "Scale" ? throw new EngineCallException("unknown", "RuntimeError", "no node is free") : Task.CompletedTask;
        Assert.Equal(
            """{"status":"error","message":"no node is free"}""",
            (await CallAsync("control/scale_elastic_ep", """{"new_data_parallel_size":8}""")).ToJsonString()
        );
        Assert.Equal(["scaling to 8 data-parallel ranks failed: no node is free"], _fatal);
    }

    [Fact]
    public async Task What_is_free_in_a_cluster_is_told_and_so_is_a_cluster_that_does_not_answer()
    {
        const string ranks = "\"data_parallel_size\":2,\"tensor_parallel_size\":1,\"data_parallel_backend\":\"ray\"";
        _engine.Parallelism = JsonNode.Parse($"{{{ranks},\"data_parallel_external_lb\":false}}")!.AsObject();
        _engine.GpuCapacity = JsonNode
            .Parse("""{"total_gpus":8.0,"available_gpus":6.0,"used_gpus":2.0,"nodes":[{"total_gpus":8.0,"available_gpus":6.0}]}""")!
            .AsObject();
        Assert.Equal(
            $"{{\"status\":\"ok\",{ranks},\"data_parallel_external_lb\":false,\"total_gpus\":8.0,\"available_gpus\":6.0,"
                + "\"used_gpus\":2.0,\"nodes\":[{\"total_gpus\":8.0,\"available_gpus\":6.0}]}",
            (await CallAsync("control/ep_capacity", "[1]")).ToJsonString()
        );
        _engine.GpuCapacity = new JsonObject { ["problem"] = "GPU capacity query timed out after 5.0s" };
        Assert.Equal(
            $"{{\"status\":\"error\",{ranks},\"data_parallel_external_lb\":false,\"total_gpus\":null,\"available_gpus\":null,"
                + "\"used_gpus\":null,\"nodes\":null,\"message\":\"GPU capacity query timed out after 5.0s\"}",
            (await CallAsync("control/ep_capacity", "{}")).ToJsonString()
        );
    }

    private void AddWeights(ControlCalls calls, string? groupTimeout) =>
        new WeightControl(calls, _pause, _engine, groupTimeout, _fatal.Add, TimeProvider.System).AddCalls();

    private async Task<JsonObject> CallAsync(string route, string body) =>
        await _routes.Find(route)!(JsonNode.Parse(body), CancellationToken.None);
}
