using System.Globalization;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Adapters;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;
using Grpc.Core;
using Grpc.Health.V1;
using Grpc.Net.Client;
using Health = Grpc.Health.V1.Health;
using Serving = Grpc.Health.V1.HealthCheckResponse.Types.ServingStatus;

namespace Dynamo.Vllm.PythonTests;

/// <summary>Requests in vLLM's own contract with <c>--grpc-requests</c>, over whole lives of a worker.</summary>
public sealed class NativeGrpcTests : GrpcRequestTests
{
    [Fact]
    public async Task A_stream_begins_with_the_prompt_and_ends_with_the_reason()
    {
        await using var native = await ServeAsync();
        var messages = await NativeClient.ReadAsync(native.Inference.GenerateStream(Request(3)));
        Assert.Equal(3u, messages[0].PromptInfo.NumPromptTokens);
        Assert.Null(messages[0].Outputs);
        Assert.All(messages[1..], message => Assert.Equal((int)message.Outputs.NumTokens, message.Outputs.TokenIds.Count));
        var end = messages[^1].Outputs.FinishInfo;
        Assert.Equal((3u, FinishInfo.Types.FinishReason.Length), (end.NumOutputTokens, end.FinishReason));
        Assert.Equal(3, messages.Sum(message => message.Outputs?.TokenIds.Count ?? 0));
        Assert.NotEqual("", string.Concat(messages.Select(message => message.Outputs?.Text)));

        // In one piece, with the same contents; and an alias or a text are taken, too.
        var whole = await native.Inference.GenerateAsync(Request(3));
        Assert.Equal(string.Concat(messages.Select(message => message.Outputs?.Text)), whole.Outputs.Text);
        Assert.Equal(messages[1..].SelectMany(message => message.Outputs.TokenIds), whole.Outputs.TokenIds);
        Assert.Equal(end, whole.Outputs.FinishInfo);
        var text = new GenerateRequest
        {
            Text = "hello",
            Stopping = new StoppingCriteria { MaxNewTokens = 1 },
            Response = new ResponseOptions { PromptTokenIds = true },
        };
        var named = await native.Inference.GenerateAsync(text);
        Assert.Equal((int)named.PromptInfo.NumPromptTokens, named.PromptInfo.TokenIds.Count);
        Assert.NotEmpty(named.PromptInfo.TokenIds);
    }

    [Fact]
    public async Task Tokens_alone_go_the_short_way_into_the_engine_and_are_the_same()
    {
        await using var native = await ServeAsync();
        var withText = await native.Inference.GenerateAsync(Request(4));
        Assert.Equal(0, await native.Worker.MetricAsync("dynamo_vllm_engine_requests_total", "direct"));
        var request = Request(4);
        request.Response.OutputText = false;
        await native.Inference.GenerateAsync(request); // the first of a kind teaches
        var tokens = await native.Inference.GenerateAsync(request);
        Assert.Equal("", tokens.Outputs.Text);
        Assert.Equal(withText.Outputs.TokenIds, tokens.Outputs.TokenIds);
        Assert.Equal(1, await native.Worker.MetricAsync("dynamo_vllm_engine_requests_total", "direct"));
    }

    [Fact]
    public async Task Engine_and_model_describe_themselves_and_calls_that_have_no_engine_for_them_say_what_is_missing()
    {
        await using var native = await ServeAsync();
        var server = await native.Control.GetServerInfoAsync(new GetServerInfoRequest());
        Assert.Equal(("vllm", 1024u), (server.ApiVersion, server.MaxModelLen));
        Assert.NotNull(server.RlCapabilities);
        Assert.Equal(1u, server.Parallelism.DataParallelSizeLocal);
        Assert.Equal(server, await native.Control.GetServerInfoAsync(new GetServerInfoRequest()));
        var model = await native.Control.GetModelInfoAsync(new GetModelInfoRequest());
        Assert.Equal(("tiny", true, false), (model.ServedModelName, model.SupportsTokenIdsInput, model.SupportsLora));
        Assert.Empty((await native.Control.GetKvEventSourcesAsync(new GetKvEventSourcesRequest())).Sources);

        await FailsAsync(
            StatusCode.FailedPrecondition,
            "engine was not started with LoRA enabled",
            native.Control.ListLorasAsync(new ListLorasRequest())
        );
        await FailsAsync(
            StatusCode.FailedPrecondition,
            "sleep mode is not configured; start vLLM with --enable-sleep-mode",
            native.Control.SleepAsync(new SleepRequest())
        );
        await FailsAsync(
            StatusCode.FailedPrecondition,
            "weight transfer is not configured; start vLLM with --weight-transfer-config",
            native.Control.StartWeightUpdateAsync(new StartWeightUpdateRequest())
        );
        await FailsAsync(
            StatusCode.InvalidArgument,
            "weight_version must not be empty",
            native.Control.UpdateWeightVersionAsync(new UpdateWeightVersionRequest())
        );
        Assert.Equal("default", (await native.Control.GetWeightVersionAsync(new GetWeightVersionRequest())).WeightVersion);
        await native.Control.UpdateWeightVersionAsync(new UpdateWeightVersionRequest { WeightVersion = "v7" });
        Assert.Equal("v7", (await native.Control.GetWeightVersionAsync(new GetWeightVersionRequest())).WeightVersion);
    }

    [Fact]
    public async Task A_pause_holds_requests_until_it_ends_and_is_the_pause_of_the_status_port()
    {
        await using var native = await ServeAsync();
        await native.Control.PauseGenerationAsync(new PauseGenerationRequest { Mode = PauseMode.Keep });
        Assert.True((await native.Control.IsPausedAsync(new IsPausedRequest())).Paused);
        using var call = native.Inference.GenerateStream(Request(1));
        var next = call.ResponseStream.MoveNext(CancellationToken.None);
        await Task.Delay(100); // several steps
        Assert.False(next.IsCompleted);
        Assert.Equal("Engine resumed", await ControlAsync(native.Worker, "resume_generation"));
        Assert.False((await native.Control.IsPausedAsync(new IsPausedRequest())).Paused);
        Assert.True(await next.WaitAsync(Limit));
    }

    [Fact]
    public async Task Sleep_and_wake_up_are_those_of_the_status_port()
    {
        await using var native = await ServeAsync("--enable-sleep-mode");
        Assert.True((await native.Control.GetServerInfoAsync(new GetServerInfoRequest())).RlCapabilities.SleepModeEnabled);
        await native.Control.SleepAsync(new SleepRequest());
        Assert.True((await native.Control.IsSleepingAsync(new IsSleepingRequest())).Sleeping);
        Assert.Equal("Engine already sleeping", await ControlAsync(native.Worker, "control/sleep"));
        await native.Control.WakeUpAsync(new WakeUpRequest());
        Assert.False((await native.Control.IsSleepingAsync(new IsSleepingRequest())).Sleeping);
        Assert.Equal(1u, (await native.Inference.GenerateAsync(Request(1))).Outputs.NumTokens);
    }

    [Fact]
    public async Task Adapters_are_loaded_listed_used_and_unloaded()
    {
        using var folder = new TemporaryFolder();
        var path = await TestAdapter.MakeAsync(
            Path.Combine(SimulatedPaths.SimulatedEngine, "model"),
            Path.Combine(folder.Path, "one"),
            seed: 1
        );
        await using var native = await ServeAsync(
            ["--enable-lora", "--max-loras", "2"],
            new Dictionary<string, string> { ["DYN_LORA_ENABLED"] = "true" }
        );
        Assert.True((await native.Control.GetModelInfoAsync(new GetModelInfoRequest())).SupportsLora);
        Assert.Equal(2u, (await native.Control.GetServerInfoAsync(new GetServerInfoRequest())).MaxLoras);
        Assert.Empty((await native.Control.ListLorasAsync(new ListLorasRequest())).Adapters);
        var load = new LoadLoraRequest { LoraName = "one", SourcePath = path };
        var loaded = (await native.Control.LoadLoraAsync(load)).Adapter;
        Assert.Equal(("one", path), (loaded.LoraName, loaded.SourcePath));
        Assert.Equal(loaded, Assert.Single((await native.Control.ListLorasAsync(new ListLorasRequest())).Adapters));
        await FailsAsync(StatusCode.AlreadyExists, "LoRA adapter `one` is already loaded", native.Control.LoadLoraAsync(load));
        var missing = new LoadLoraRequest { LoraName = "two", SourcePath = Path.Combine(folder.Path, "nothing") };
        var refusal = await Assert.ThrowsAsync<RpcException>(async () => await native.Control.LoadLoraAsync(missing));
        Assert.Equal(StatusCode.InvalidArgument, refusal.StatusCode);

        var plain = await native.Inference.GenerateAsync(Request(8));
        var adapted = Request(8);
        adapted.LoraName = "one";
        Assert.NotEqual(plain.Outputs.TokenIds, (await native.Inference.GenerateAsync(adapted)).Outputs.TokenIds);

        var unload = new UnloadLoraRequest { LoraName = "one" };
        Assert.Equal(loaded, (await native.Control.UnloadLoraAsync(unload)).Adapter);
        const string gone = "LoRA adapter `one` is not loaded";
        await FailsAsync(StatusCode.NotFound, gone, native.Control.UnloadLoraAsync(unload));
        await FailsAsync(StatusCode.NotFound, gone, native.Inference.GenerateAsync(adapted));
        await FailsAsync(
            StatusCode.InvalidArgument,
            "lora_name must not be empty",
            native.Control.UnloadLoraAsync(new UnloadLoraRequest())
        );
    }

    [Fact]
    public async Task A_client_that_leaves_takes_its_request_out_of_the_engine()
    {
        await using var native = await ServeAsync();
        using (var call = native.Inference.GenerateStream(Request(Endless)))
        {
            Assert.True(await call.ResponseStream.MoveNext(CancellationToken.None));
            await UsageAsync(native.Worker, usage => usage > 0);
        }

        await UsageAsync(native.Worker, usage => usage == 0);
        await Polling.UntilAsync(
            "the request is not counted as cancelled",
            Limit,
            async () => await native.Worker.MetricAsync("dynamo_component_cancellation_total", "generate") == 1
        );
    }

    [Fact]
    public async Task An_abort_ends_the_stream_with_its_word_and_unknown_ids_are_no_mistake()
    {
        await using var native = await ServeAsync();
        using var call = native.Inference.GenerateStream(Request(Endless, "victim"));
        Assert.True(await call.ResponseStream.MoveNext(CancellationToken.None));
        await native.Control.AbortAsync(new AbortRequest());
        await native.Control.AbortAsync(new AbortRequest { RequestIds = { "nobody", "victim", "victim" } });
        await native.Control.AbortAsync(new AbortRequest { RequestIds = { "victim" } });
        var messages = await NativeClient.ReadAsync(call);
        var end = messages[^1].Outputs;
        // Tokens that waited for this reader may come with it.
        Assert.Equal(FinishInfo.Types.FinishReason.Aborted, end.FinishInfo.FinishReason);
        Assert.Equal(messages.Sum(message => message.Outputs?.NumTokens ?? 0), end.FinishInfo.NumOutputTokens);
        await UsageAsync(native.Worker, usage => usage == 0);
    }

    [Fact]
    public async Task Refusals_come_before_the_first_message()
    {
        await using var native = await ServeAsync();
        var unknown = Request(1);
        unknown.Model = "zzz";
        await FailsAsync(StatusCode.NotFound, "model `zzz` not found", native.Inference.GenerateAsync(unknown));
        await FailsAsync(StatusCode.InvalidArgument, "prompt is required", native.Inference.GenerateAsync(new GenerateRequest()));
        var adapted = Request(1);
        adapted.LoraName = "x";
        const string withoutLora = "engine was not started with LoRA enabled";
        await FailsAsync(StatusCode.FailedPrecondition, withoutLora, native.Inference.GenerateAsync(adapted));
        // One of the engine's own.
        var wrong = Request(1);
        wrong.Decoding = new DecodingParameters { RepetitionPenalty = -1 };
        var refusal = await Assert.ThrowsAsync<RpcException>(async () => await native.Inference.GenerateAsync(wrong));
        Assert.Equal(StatusCode.InvalidArgument, refusal.StatusCode);
        Assert.Contains("repetition_penalty must be greater than zero", refusal.Status.Detail, StringComparison.Ordinal);

        // In the books as any other, by their reasons.
        native.Worker.Process.Signal("TERM");
        Assert.Equal(0, await native.Worker.Process.ExitCodeAsync(Limit));
        Assert.Contains(
            native.Worker.Process.Lines,
            line => line.Contains("Requests to generate: 3 accepted = 0 finished + 3 failed", StringComparison.Ordinal)
        );
    }

    [Fact]
    public async Task A_message_may_be_as_long_as_one_on_the_TCP_plane_and_no_longer()
    {
        const int mebibyte = 1 << 20;
        await using var native = await ServeAsync();
        await FailsAsync(
            StatusCode.InvalidArgument,
            $"text takes more than {16 * mebibyte} bytes",
            native.Inference.GenerateAsync(new GenerateRequest { Text = new string('a', 17 * mebibyte) })
        );
        var tooLong = new GenerateRequest { Text = new string('a', 33 * mebibyte) };
        var refusal = await Assert.ThrowsAsync<RpcException>(async () => await native.Inference.GenerateAsync(tooLong));
        Assert.Equal(StatusCode.ResourceExhausted, refusal.StatusCode);
        Assert.Equal(1u, (await native.Inference.GenerateAsync(Request(1))).Outputs.NumTokens);
    }

    [Fact]
    public async Task Above_the_worker_s_limits_a_request_is_refused_and_not_queued_without_bound()
    {
        await using var native = await ServeAsync(
            [],
            environment: new Dictionary<string, string> { ["DYN_TCP_WORKER_POOL_SIZE"] = "1", ["DYN_TCP_WORK_QUEUE_SIZE"] = "1" }
        );
        using var first = native.Inference.GenerateStream(Request(Endless));
        Assert.True(await first.ResponseStream.MoveNext(CancellationToken.None));
        using var second = native.Inference.GenerateStream(Request(1));
        await Polling.UntilAsync(
            "the second request does not wait",
            Limit,
            async () => await native.Worker.MetricAsync("dynamo_component_requests_total", "\"generate\"") == 2
        );
        await FailsAsync(
            StatusCode.ResourceExhausted,
            "too many requests run and wait on this worker",
            native.Inference.GenerateAsync(Request(1))
        );
    }

    [Fact]
    public async Task A_drain_finishes_what_runs_refuses_what_comes_and_health_says_so()
    {
        await using var native = await ServeAsync("--drain-timeout", "30");
        Assert.Equal(Serving.Serving, await HealthAsync(native, "vllm.Inference"));
        Assert.Equal(Serving.Serving, await HealthAsync(native, "vllm.Control"));
        using var call = native.Inference.GenerateStream(Request(400));
        Assert.True(await call.ResponseStream.MoveNext(CancellationToken.None));
        native.Worker.Process.Signal("TERM");
        await native.Worker.Process.LineAsync("Draining 1 requests", Limit);
        Assert.Equal(Serving.NotServing, await HealthAsync(native, "vllm.Inference"));
        Assert.Equal(Serving.NotServing, await HealthAsync(native, "vllm.Control"));
        await FailsAsync(
            StatusCode.Unavailable,
            "the worker is stopping and takes no more requests",
            native.Inference.GenerateAsync(Request(1))
        );
        var messages = await NativeClient.ReadAsync(call);
        Assert.Equal(400u, messages[^1].Outputs.FinishInfo.NumOutputTokens);
        Assert.Equal(0, await native.Worker.Process.ExitCodeAsync(Limit));
        Assert.Contains(
            native.Worker.Process.Lines,
            line => line.Contains("Requests to generate: 1 accepted = 1 finished", StringComparison.Ordinal)
        );
    }

    [Fact]
    public async Task What_outlives_the_drain_is_told_to_go_elsewhere()
    {
        await using var native = await ServeAsync("--drain-timeout", "0.2");
        using var call = native.Inference.GenerateStream(Request(Endless));
        Assert.True(await call.ResponseStream.MoveNext(CancellationToken.None));
        native.Worker.Process.Signal("TERM");
        var end = await Assert.ThrowsAsync<RpcException>(() => NativeClient.ReadAsync(call));
        Assert.Equal(StatusCode.Unavailable, end.StatusCode);
        Assert.Equal(0, await native.Worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task Each_client_of_an_engine_that_is_killed_gets_an_error()
    {
        await using var native = await ServeAsync();
        using var call = native.Inference.GenerateStream(Request(Endless));
        Assert.True(await call.ResponseStream.MoveNext(CancellationToken.None));
        native.Worker.Process.Signal("KILL", native.Worker.FindEngineCore());
        var end = await Assert.ThrowsAsync<RpcException>(() => NativeClient.ReadAsync(call));
        Assert.Equal(StatusCode.Internal, end.StatusCode);
        Assert.Equal(1, await native.Worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task With_a_token_what_changes_something_needs_it_and_what_the_sidecar_calls_does_not()
    {
        const string token = "correct-horse-battery";
        var file = Path.Combine(Store, "token");
        await File.WriteAllTextAsync(file, token);
        await using var native = await ServeAsync("--system-token-file", file);
        await native.Control.GetServerInfoAsync(new GetServerInfoRequest());
        await native.Control.AbortAsync(new AbortRequest { RequestIds = { "nobody" } });
        Assert.Equal(1u, (await native.Inference.GenerateAsync(Request(1))).Outputs.NumTokens);
        const string problem = "The token of --system-token-file is needed";
        var pause = new PauseGenerationRequest { Mode = PauseMode.Keep };
        await FailsAsync(StatusCode.Unauthenticated, problem, native.Control.PauseGenerationAsync(pause));
        await FailsAsync(StatusCode.Unauthenticated, problem, native.Control.LoadLoraAsync(new LoadLoraRequest()));
        await FailsAsync(
            StatusCode.Unauthenticated,
            problem,
            native.Control.PauseGenerationAsync(pause, new Metadata { { "authorization", "Bearer wrong-horse-battery" } })
        );
        Assert.False((await native.Control.IsPausedAsync(new IsPausedRequest())).Paused);
        await native.Control.PauseGenerationAsync(pause, new Metadata { { "authorization", $"Bearer {token}" } });
        Assert.True((await native.Control.IsPausedAsync(new IsPausedRequest())).Paused);
    }

    [Fact]
    public async Task Without_the_flag_the_port_has_neither_service()
    {
        var port = FreePorts.Next();
        await using var worker = await StartAsync(["--grpc-port", $"{port}"]);
        using var channel = GrpcChannel.ForAddress($"http://127.0.0.1:{port}");
        var inference = new Inference.InferenceClient(channel);
        var refusal = await Assert.ThrowsAsync<RpcException>(async () => await inference.GenerateAsync(Request(1)));
        Assert.Equal(StatusCode.Unimplemented, refusal.StatusCode);
    }

    [Fact]
    public async Task Whoever_serves_before_the_engine_is_up_says_so()
    {
        var port = FreePorts.Next();
        await using var worker = WorkerProcess.StartSimulated(
            Store,
            ["--grpc-port", $"{port}", "--grpc-requests", "--simulated-load-time-ms", "3000"]
        );
        await worker.Process.LineAsync("System status server listens", Limit);
        using var channel = GrpcChannel.ForAddress($"http://127.0.0.1:{port}");
        var health = await new Health.HealthClient(channel).CheckAsync(new HealthCheckRequest { Service = "vllm.Control" });
        Assert.Equal(Serving.NotServing, health.Status);
        await FailsAsync(
            StatusCode.Unavailable,
            "the worker is starting: its engine does not serve yet",
            new Inference.InferenceClient(channel).GenerateAsync(Request(1))
        );
        await worker.ReadyAsync(Limit);
        Assert.Equal(1u, (await new Inference.InferenceClient(channel).GenerateAsync(Request(1))).Outputs.NumTokens);
    }

    [Theory]
    [InlineData("--grpc-requests needs --grpc-port", "--grpc-requests")]
    [InlineData(
        "--grpc-requests cannot be combined with --disaggregation-mode decode",
        "--grpc-requests",
        "--grpc-port",
        "1024",
        "--disaggregation-mode",
        "decode"
    )]
    public async Task What_does_not_fit_together_ends_the_start_in_one_line(string problem, params string[] flags)
    {
        await using var worker = WorkerProcess.StartSimulated(Store, flags);
        Assert.NotEqual(0, await worker.Process.ExitCodeAsync(Limit));
        Assert.Contains(worker.Process.Lines, line => line.Contains(problem, StringComparison.Ordinal));
    }

    private static GenerateRequest Request(uint tokens, string id = "") =>
        new()
        {
            RequestId = id,
            Model = "tiny",
            TokenIds = new TokenIds { Ids = { 5, 2, 3 } },
            Stopping = new StoppingCriteria { MaxNewTokens = tokens, IgnoreEos = true },
            Response = new ResponseOptions { OutputTokenIds = true },
        };

    private Task<NativeClient> ServeAsync(params string[] arguments) => ServeAsync(arguments, environment: null);

    private async Task<NativeClient> ServeAsync(string[] arguments, IReadOnlyDictionary<string, string>? environment)
    {
        var (worker, port) = await ServeGrpcAsync(arguments, environment);
        return new NativeClient(worker, port);
    }

    private static async Task<Serving> HealthAsync(NativeClient native, string service) =>
        (await native.Health.CheckAsync(new HealthCheckRequest { Service = service })).Status;
}
