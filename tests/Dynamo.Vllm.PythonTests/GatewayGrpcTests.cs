using System.Globalization;
using System.IO.Compression;
using System.Security.Cryptography;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Grpc.Core;
using Grpc.Net.Client;
using Serving = Grpc.Health.V1.HealthCheckResponse.Types.ServingStatus;

namespace Dynamo.Vllm.PythonTests;

/// <summary>The contract of the gateway smg with <c>--grpc-requests</c>, over whole lives of a worker.</summary>
public sealed class GatewayGrpcTests : GrpcRequestTests
{
    private const string Service = "vllm.grpc.engine.VllmEngine";

    /// <summary>Of the simulated engine.</summary>
    private const int BlockSize = 16;

    [Fact]
    public async Task A_stream_has_a_chunk_for_each_step_and_its_last_one_twice()
    {
        await using var gateway = await ServeAsync();
        var messages = await gateway.GenerateAsync(Request(3));
        var chunks = messages[..^1].ConvertAll(message => message.Chunk);
        Assert.All(chunks, chunk => Assert.Equal((3u, chunk.TokenIds.Count), (chunk.PromptTokens, (int)chunk.CompletionTokens)));
        Assert.Equal(3, chunks.Sum(chunk => chunk.TokenIds.Count));
        var end = messages[^1].Complete;
        Assert.Equal(chunks[^1].TokenIds, end.OutputIds);
        Assert.Equal(("length", 3u, (uint)end.OutputIds.Count), (end.FinishReason, end.PromptTokens, end.CompletionTokens));

        var request = Request(3);
        request.Stream = false;
        var whole = Assert.Single(await gateway.GenerateAsync(request)).Complete;
        Assert.Equal(chunks.SelectMany(chunk => chunk.TokenIds), whole.OutputIds);
        Assert.Equal(("length", 3u), (whole.FinishReason, whole.CompletionTokens));
    }

    [Fact]
    public async Task Token_ids_go_the_short_way_into_the_engine_and_texts_do_not()
    {
        await using var gateway = await ServeAsync();
        await gateway.GenerateAsync(Request(4)); // the first of a kind teaches
        var shortly = await gateway.GenerateAsync(Request(4));
        Assert.Equal(1, await gateway.Worker.MetricAsync("dynamo_vllm_engine_requests_total", "direct"));
        var stopped = Request(4);
        stopped.SamplingParams.Stop.Add("no such text");
        Assert.Equal(Tokens(shortly), Tokens(await gateway.GenerateAsync(stopped)));
        var text = new GenerateRequest
        {
            Text = "hello",
            SamplingParams = new SamplingParams { MaxTokens = 1, PromptLogprobs = 1 },
        };
        var answer = Assert.Single(await gateway.GenerateAsync(text)).Complete;
        Assert.Equal((int)answer.PromptTokens, answer.InputLogprobs.TokenIds.Count);
        Assert.NotEmpty(answer.InputLogprobs.TokenIds);
        Assert.Equal(1, await gateway.Worker.MetricAsync("dynamo_vllm_engine_requests_total", "direct"));
    }

    [Fact]
    public async Task What_stops_a_choice_is_named()
    {
        await using var gateway = await ServeAsync();
        var tokens = Tokens(await gateway.GenerateAsync(Request(4)));
        var byToken = Request(Endless);
        byToken.SamplingParams.StopTokenIds.Add(tokens[1]);
        var end = (await gateway.GenerateAsync(byToken))[^1].Complete;
        Assert.Equal(("stop", tokens[1]), (end.FinishReason, end.MatchedTokenId));
        Assert.Equal(tokens[1], Assert.Single(end.OutputIds));
    }

    [Fact]
    public async Task Several_choices_of_a_prompt_have_an_end_each()
    {
        await using var gateway = await ServeAsync();
        var request = Request(2);
        request.SamplingParams.N = 2;
        request.SamplingParams.Temperature = 1;
        request.SamplingParams.Seed = 3;
        var messages = await gateway.GenerateAsync(request);
        foreach (var index in (uint[])[0, 1])
        {
            Assert.Equal(2, messages.Where(message => message.Chunk?.Index == index).Sum(message => message.Chunk.TokenIds.Count));
            Assert.Single(messages, message => message.Complete?.Index == index);
        }

        request.Stream = false;
        var whole = await gateway.GenerateAsync(request);
        Assert.Equal([0u, 1u], whole.Select(message => message.Complete.Index));
        Assert.All(whole, message => Assert.Equal(2, message.Complete.OutputIds.Count));
    }

    [Fact]
    public async Task Engine_and_model_describe_themselves()
    {
        await using var gateway = await ServeAsync();
        var model = await gateway.Engine.GetModelInfoAsync(new GetModelInfoRequest());
        Assert.Equal(("tiny", true, 1024u), (model.ServedModelName, model.IsGeneration, model.MaxContextLength));
        Assert.NotEqual("", model.TokenizerPath);
        Assert.NotEmpty(model.Architectures);
        Assert.NotEmpty(model.EosTokenIds);
        var server = await gateway.Engine.GetServerInfoAsync(new GetServerInfoRequest());
        Assert.Equal((1, BlockSize, "first_token"), (server.DataParallelSize, server.BlockSize, server.ConstrainedDecodingStart));
        var health = await gateway.Engine.HealthCheckAsync(new HealthCheckRequest());
        Assert.Equal((true, "Health"), (health.Healthy, health.Message));
        Assert.Equal(
            Serving.Serving,
            (await gateway.Health.CheckAsync(new Grpc.Health.V1.HealthCheckRequest { Service = Service })).Status
        );
        await FailsAsync(
            StatusCode.InvalidArgument,
            "This model does not support pooling",
            gateway.Engine.EmbedAsync(new EmbedRequest { Tokenized = new TokenizedInput { InputIds = { 5 } } }).ResponseAsync
        );
    }

    [Fact]
    public async Task The_tokenizer_comes_as_a_zip_with_its_digest()
    {
        await using var gateway = await ServeAsync();
        var parts = await GatewayClient.ReadAsync(gateway.Engine.GetTokenizer(new GetTokenizerRequest()));
        var zip = parts.SelectMany(part => part.Data).ToArray();
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(zip)), parts[^1].Sha256);
        Assert.All(parts[..^1], part => Assert.Equal("", part.Sha256));
        using var archive = new ZipArchive(new MemoryStream(zip));
        var entry = archive.GetEntry("tokenizer.json")!;
        using var packed = new MemoryStream();
        await using (var stream = await entry.OpenAsync())
        {
            await stream.CopyToAsync(packed);
        }

        Assert.Equal(
            await File.ReadAllBytesAsync(Path.Combine(SimulatedPaths.SimulatedEngine, "model", "tokenizer.json")),
            packed.ToArray()
        );
        Assert.Contains(archive.Entries, file => file.Name == "chat_template.jinja");
        Assert.DoesNotContain(archive.Entries, file => file.Name.EndsWith(".safetensors", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Events_of_the_cache_and_the_load_come_on_one_stream()
    {
        await using var gateway = await ServeAsync(KvEventFlags.OnFreePort());
        using var call = gateway.Engine.SubscribeKvEvents(new SubscribeKvEventsRequest { LoadRecordsBeforeFirstBatch = true });
        await call.ResponseHeadersAsync.WaitAsync(TimeSpan.FromSeconds(2)); // a gateway waits no longer, and nothing has happened yet
        var idle = await NextAsync(call, batch => batch.Load.LoadOnly);
        Assert.Equal((0ul, 0u, 0), (idle.SequenceNumber, idle.Load.RunningRequests, idle.DpRank));
        Assert.NotEqual(0, idle.Load.MaxTotalNumTokens);

        uint[] prompt = [.. Enumerable.Range(100, 2 * BlockSize).Select(id => (uint)id)];
        using var running = gateway.Engine.Generate(Request(Endless, prompt: prompt));
        Assert.True(await running.ResponseStream.MoveNext(CancellationToken.None));
        var stored = await NextAsync(call, batch => batch.Events.Any(entry => entry.Stored is not null));
        Assert.False(stored.Load.LoadOnly);
        var blocks = stored.Events[0].Stored;
        Assert.Equal(KvCacheTier.Device, blocks.Tier);
        Assert.Equal(prompt, blocks.Blocks.SelectMany(block => block.TokenIds).Take(prompt.Length));
        Assert.All(blocks.Blocks, block => Assert.Equal(BlockSize, block.BlockSize));
        var busy = await NextAsync(call, batch => batch.Load.RunningRequests == 1 && batch.Load.NumUsedTokens > 0);
        Assert.InRange(busy.Load.TokenUsage, 0.0001, 1);
        var loads = Assert.Single((await gateway.Engine.GetLoadsAsync(new GetLoadsRequest())).Loads);
        Assert.Equal((1, 1, idle.Load.MaxTotalNumTokens), (loads.NumRunningReqs, loads.NumTotalReqs, loads.MaxTotalNumTokens));

        // Numbers follow each other, and what tells of the load alone repeats the last one.
        var last = busy.SequenceNumber;
        for (var i = 0; i < 10; i++)
        {
            var next = await NextAsync(call, _ => true);
            Assert.Equal(next.Load.LoadOnly ? last : last + 1, next.SequenceNumber);
            last = next.SequenceNumber;
        }

        gateway.Worker.Process.Signal("TERM");
        var end = await Assert.ThrowsAsync<RpcException>(() => NextAsync(call, _ => false));
        Assert.Equal(StatusCode.Unavailable, end.StatusCode);
    }

    [Fact]
    public async Task A_subscription_that_cannot_be_served_says_why()
    {
        await using var gateway = await ServeAsync();
        var without = await Assert.ThrowsAsync<RpcException>(() =>
            GatewayClient.ReadAsync(gateway.Engine.SubscribeKvEvents(new SubscribeKvEventsRequest()))
        );
        Assert.Equal(StatusCode.Unimplemented, without.StatusCode);
        Assert.Contains("--kv-events-config", without.Status.Detail, StringComparison.Ordinal);
        await using var publishing = await ServeAsync(KvEventFlags.OnFreePort());
        var replay = await Assert.ThrowsAsync<RpcException>(() =>
            GatewayClient.ReadAsync(publishing.Engine.SubscribeKvEvents(new SubscribeKvEventsRequest { StartSequenceNumber = 5 }))
        );
        Assert.Equal(StatusCode.OutOfRange, replay.StatusCode);
    }

    [Fact]
    public async Task A_client_that_leaves_takes_its_request_out_of_the_engine()
    {
        await using var gateway = await ServeAsync();
        using (var call = gateway.Engine.Generate(Request(Endless)))
        {
            Assert.True(await call.ResponseStream.MoveNext(CancellationToken.None));
            await UsageAsync(gateway.Worker, usage => usage > 0);
        }

        await UsageAsync(gateway.Worker, usage => usage == 0);
        await Polling.UntilAsync(
            "the request is not counted as cancelled",
            Limit,
            async () => await gateway.Worker.MetricAsync("dynamo_component_cancellation_total", "generate") == 1
        );
    }

    [Fact]
    public async Task An_abort_ends_the_stream_with_its_word_and_unknown_ids_are_no_mistake()
    {
        await using var gateway = await ServeAsync();
        using var call = gateway.Engine.Generate(Request(Endless, "victim"));
        Assert.True(await call.ResponseStream.MoveNext(CancellationToken.None));
        await gateway.Engine.AbortAsync(new AbortRequest());
        await gateway.Engine.AbortAsync(new AbortRequest { RequestIds = { "nobody", "victim", "victim" } });
        var messages = await GatewayClient.ReadAsync(call);
        Assert.Equal("abort", messages[^1].Complete.FinishReason);
        await UsageAsync(gateway.Worker, usage => usage == 0);
    }

    [Fact]
    public async Task Refusals_come_before_the_first_message_and_name_what_is_wrong()
    {
        await using var gateway = await ServeAsync();
        await RefusedAsync("input is required: tokenized or text", new GenerateRequest());
        await RefusedAsync("token_id(s) [999999] in prompt are out of vocabulary. Vocabulary size: 2048", Request(1, prompt: [5, 999999]));
        var rank = Request(1);
        rank.DataParallelRank = 5;
        await RefusedAsync("data_parallel_rank 5 is out of range [0, 1).", rank);
        var media = Request(1);
        media.MmInputs = new MultimodalInputs();
        await RefusedAsync("mm_inputs: multimodal input is not supported by this server", media);
        // One of the engine's own.
        var cold = Request(1);
        cold.SamplingParams.Temperature = -1;
        var refusal = await Assert.ThrowsAsync<RpcException>(() => gateway.GenerateAsync(cold));
        Assert.Equal(StatusCode.InvalidArgument, refusal.StatusCode);
        Assert.Contains("temperature must be non-negative, got -1.0", refusal.Status.Detail, StringComparison.Ordinal);
        gateway.Worker.Process.Signal("TERM");
        Assert.Equal(0, await gateway.Worker.Process.ExitCodeAsync(Limit));
        Assert.Contains(
            gateway.Worker.Process.Lines,
            line => line.Contains("Requests to generate: 5 accepted = 0 finished + 5 failed", StringComparison.Ordinal)
        );

        async Task RefusedAsync(string problem, GenerateRequest request)
        {
            var refusal = await Assert.ThrowsAsync<RpcException>(() => gateway.GenerateAsync(request));
            Assert.Equal((StatusCode.InvalidArgument, problem), (refusal.StatusCode, refusal.Status.Detail));
        }
    }

    [Fact]
    public async Task Above_the_worker_s_limits_a_request_is_refused()
    {
        await using var gateway = await ServeAsync(
            [],
            environment: new Dictionary<string, string> { ["DYN_TCP_WORKER_POOL_SIZE"] = "1", ["DYN_TCP_WORK_QUEUE_SIZE"] = "1" }
        );
        using var first = gateway.Engine.Generate(Request(Endless));
        Assert.True(await first.ResponseStream.MoveNext(CancellationToken.None));
        using var second = gateway.Engine.Generate(Request(1));
        await Polling.UntilAsync(
            "the second request does not wait",
            Limit,
            async () => await gateway.Worker.MetricAsync("dynamo_component_requests_total", "\"generate\"") == 2
        );
        var refusal = await Assert.ThrowsAsync<RpcException>(() => gateway.GenerateAsync(Request(1)));
        Assert.Equal(StatusCode.ResourceExhausted, refusal.StatusCode);
    }

    [Fact]
    public async Task A_running_stream_is_finished_when_the_worker_stops_and_new_ones_are_turned_away()
    {
        await using var gateway = await ServeAsync();
        using var call = gateway.Engine.Generate(Request(200));
        Assert.True(await call.ResponseStream.MoveNext(CancellationToken.None));
        var first = call.ResponseStream.Current.Chunk.TokenIds.Count;
        gateway.Worker.Process.Signal("TERM");
        await Polling.UntilAsync(
            "the worker does not say that it leaves",
            Limit,
            async () => !(await gateway.Engine.HealthCheckAsync(new HealthCheckRequest())).Healthy
        );
        await Polling.UntilAsync(
            "the worker takes requests",
            Limit,
            async () =>
            {
                try
                {
                    await gateway.GenerateAsync(Request(1));
                    return false;
                }
                catch (RpcException refusal)
                {
                    return refusal.StatusCode == StatusCode.Unavailable;
                }
            }
        );
        var messages = await GatewayClient.ReadAsync(call);
        Assert.Equal("length", messages[^1].Complete.FinishReason);
        Assert.Equal(200, first + messages.Sum(message => message.Chunk?.TokenIds.Count ?? 0));
        Assert.Equal(0, await gateway.Worker.Process.ExitCodeAsync(Limit));
    }

    [Fact]
    public async Task What_outlives_the_drain_is_told_to_go_elsewhere()
    {
        await using var gateway = await ServeAsync("--drain-timeout", "0.2");
        using var call = gateway.Engine.Generate(Request(Endless));
        Assert.True(await call.ResponseStream.MoveNext(CancellationToken.None));
        gateway.Worker.Process.Signal("TERM");
        var end = await Assert.ThrowsAsync<RpcException>(() => GatewayClient.ReadAsync(call));
        Assert.Equal(StatusCode.Unavailable, end.StatusCode);
    }

    [Fact]
    public async Task The_cache_is_flushed_once_no_block_is_in_use()
    {
        await using var gateway = await ServeAsync();
        uint[] prompt = [.. Enumerable.Range(100, 2 * BlockSize).Select(id => (uint)id)];
        await gateway.GenerateAsync(Request(1, prompt: prompt));
        Assert.NotEqual(0u, (await gateway.GenerateAsync(Request(1, prompt: prompt)))[^1].Complete.CachedTokens);
        Assert.True((await gateway.Engine.FlushCacheAsync(new FlushCacheRequest())).Success);
        Assert.Equal(0u, (await gateway.GenerateAsync(Request(1, prompt: prompt)))[^1].Complete.CachedTokens);
        using var call = gateway.Engine.Generate(Request(Endless));
        Assert.True(await call.ResponseStream.MoveNext(CancellationToken.None));
        Assert.False((await gateway.Engine.FlushCacheAsync(new FlushCacheRequest { TimeoutS = 0.2f })).Success);
        await FailsAsync(
            StatusCode.InvalidArgument,
            "timeout_s must be from 0 to 600, got -1",
            gateway.Engine.FlushCacheAsync(new FlushCacheRequest { TimeoutS = -1 }).ResponseAsync
        );
    }

    [Fact]
    public async Task With_a_token_what_changes_something_needs_it_and_what_a_gateway_calls_does_not()
    {
        const string token = "correct-horse-battery";
        var file = Path.Combine(Store, "token");
        await File.WriteAllTextAsync(file, token);
        await using var gateway = await ServeAsync("--system-token-file", file);
        await gateway.Engine.GetServerInfoAsync(new GetServerInfoRequest());
        await gateway.Engine.GetLoadsAsync(new GetLoadsRequest());
        await gateway.Engine.AbortAsync(new AbortRequest { RequestIds = { "nobody" } });
        Assert.NotEmpty(await gateway.GenerateAsync(Request(1)));
        const string problem = "The token of --system-token-file is needed";
        await FailsAsync(StatusCode.Unauthenticated, problem, gateway.Engine.FlushCacheAsync(new FlushCacheRequest()).ResponseAsync);
        await FailsAsync(StatusCode.Unauthenticated, problem, gateway.Engine.StartProfileAsync(new StartProfileRequest()).ResponseAsync);
        var shown = new Metadata { { "authorization", $"Bearer {token}" } };
        Assert.True((await gateway.Engine.FlushCacheAsync(new FlushCacheRequest(), shown)).Success);
    }

    [Fact]
    public async Task Without_the_flag_the_port_has_no_such_service()
    {
        var port = FreePorts.Next();
        await using var worker = await StartAsync(["--grpc-port", $"{port}"]);
        using var channel = GrpcChannel.ForAddress($"http://127.0.0.1:{port}");
        var refusal = await Assert.ThrowsAsync<RpcException>(async () =>
            await new VllmEngine.VllmEngineClient(channel).HealthCheckAsync(new HealthCheckRequest())
        );
        Assert.Equal(StatusCode.Unimplemented, refusal.StatusCode);
    }

    [Fact]
    public async Task Before_the_engine_is_up_the_worker_is_not_healthy()
    {
        var port = FreePorts.Next();
        await using var worker = WorkerProcess.StartSimulated(
            Store,
            ["--grpc-port", $"{port}", "--grpc-requests", "--simulated-load-time-ms", "3000"]
        );
        await worker.Process.LineAsync("System status server listens", Limit);
        using var channel = GrpcChannel.ForAddress($"http://127.0.0.1:{port}");
        var engine = new VllmEngine.VllmEngineClient(channel);
        Assert.False((await engine.HealthCheckAsync(new HealthCheckRequest())).Healthy);
        await FailsAsync(
            StatusCode.Unavailable,
            "the worker is starting: its engine does not serve yet",
            engine.GetModelInfoAsync(new GetModelInfoRequest()).ResponseAsync
        );
        await worker.ReadyAsync(Limit);
        Assert.True((await engine.HealthCheckAsync(new HealthCheckRequest())).Healthy);
    }

    private static GenerateRequest Request(uint tokens, string id = "", uint[]? prompt = null) =>
        new()
        {
            RequestId = id,
            Tokenized = new TokenizedInput { InputIds = { prompt ?? [5, 2, 3] } },
            SamplingParams = new SamplingParams
            {
                Temperature = 0,
                MaxTokens = tokens,
                IgnoreEos = true,
            },
            Stream = true,
        };

    private static List<uint> Tokens(List<GenerateResponse> messages) =>
        [.. messages.Where(message => message.Chunk is not null).SelectMany(message => message.Chunk.TokenIds)];

    private static async Task<KvEventBatch> NextAsync(AsyncServerStreamingCall<KvEventBatch> call, Predicate<KvEventBatch> wanted)
    {
        using var limit = new CancellationTokenSource(Limit);
        while (await call.ResponseStream.MoveNext(limit.Token))
        {
            if (wanted(call.ResponseStream.Current))
            {
                return call.ResponseStream.Current;
            }
        }

        throw new InvalidOperationException("the stream has ended");
    }

    private Task<GatewayClient> ServeAsync(params string[] arguments) => ServeAsync(arguments, environment: null);

    private async Task<GatewayClient> ServeAsync(string[] arguments, IReadOnlyDictionary<string, string>? environment)
    {
        var (worker, port) = await ServeGrpcAsync(arguments, environment);
        return new GatewayClient(worker, port);
    }
}
