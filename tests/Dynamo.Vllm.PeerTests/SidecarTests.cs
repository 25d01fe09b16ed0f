using System.Globalization;
using System.Net;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;
using Grpc.Net.Client;
using Gateway = Dynamo.Vllm.Worker.GatewayGrpc.Contract;

namespace Dynamo.Vllm.PeerTests;

/// <summary>vLLM's gRPC contracts, one used by the official sidecar, both measured by what vLLM's own servers answered. The last test
/// ends the worker.</summary>
[Trait("Category", "Peers")]
[TestCaseOrderer(DeclarationOrder.Type, DeclarationOrder.Assembly)]
public sealed class SidecarTests(SidecarFixture peers) : IClassFixture<SidecarFixture>
{
    private const string Chat = "/v1/chat/completions";

    private const string Completion = "/v1/completions";

    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    /// <summary>
    /// Held back until the tokens make a whole character: at the end of a stream vLLM's own server shows what is there, vLLM's Python
    /// detokenizer, which is ours, does not. And the JSON parsers of the two name a mistake each in its own words.
    /// </summary>
    private static readonly string[] EndsInsideCharacter = ["stream tokens default", "stream tokens ids"];

    [PeerFact]
    public async Task Chats_and_completions_are_those_of_the_worker_s_ordinary_way()
    {
        var differences = new List<string>();
        foreach (var (path, text) in Requests)
        {
            var request = JsonNode.Parse(text)!.AsObject();
            foreach (var isStreamed in (bool[])[false, true])
            {
                var fronted = await SidecarFixture.AskAsync(peers.Fronted, path, request, isStreamed);
                var ordinary = await SidecarFixture.AskAsync(peers.Ordinary, path, request, isStreamed);
                Assert.Equal(200, (int?)ordinary["status"]);
                foreach (var answer in (JsonObject[])[fronted, ordinary])
                {
                    RemoveWhatTheContractHasNoFieldFor(answer);
                }

                if (!JsonNode.DeepEquals(fronted, ordinary))
                {
                    differences.Add($"{text}\n  sidecar  {fronted.ToJsonString()}\n  ordinary {ordinary.ToJsonString()}");
                }
            }
        }

        Assert.True(differences.Count == 0, string.Join('\n', differences));
    }

    private static IEnumerable<(string Path, string Text)> Requests =>
        [
            (Chat, """{"messages":[{"role":"user","content":"hi"}],"max_tokens":8,"temperature":0}"""),
            (Chat, """{"messages":[{"role":"user","content":"hi"}],"max_tokens":8,"temperature":0,"logprobs":true,"top_logprobs":2}"""),
            (Chat, """{"messages":[{"role":"user","content":"hi"}],"max_tokens":8,"temperature":1,"seed":3,"top_p":0.9,"top_k":40}"""),
            (Chat, """{"messages":[{"role":"user","content":"hi"}],"max_tokens":8,"temperature":0,"model":"tiny-alias"}"""),
            (
                Chat,
                """{"messages":[{"role":"user","content":"hi"}],"max_tokens":9,"temperature":0,"response_format":{"type":"json_schema","json_schema":{"name":"b","schema":{"type":"boolean"}}}}"""
            ),
            (Completion, """{"prompt":"once upon a time","max_tokens":8,"temperature":0,"logprobs":2}"""),
            (Completion, """{"prompt":"once upon a time","max_tokens":60,"temperature":0,"stop":["e"]}"""),
            (Completion, """{"prompt":[5,6,7],"max_tokens":30,"temperature":0,"repetition_penalty":1.5,"frequency_penalty":1.5}"""),
        ];

    [PeerFact]
    public async Task A_mistake_of_the_client_is_its_own()
    {
        var request = JsonNode.Parse("""{"messages":[{"role":"user","content":"hi"}],"guided_regex":"[0-9"}""")!.AsObject();
        var answer = await SidecarFixture.AskAsync(peers.Fronted, Chat, request, isStreamed: false);
        Assert.Equal(400, (int?)answer["status"]);
        Assert.Contains(peers.Worker.Process.Lines, line => line.Contains("regex parse error", StringComparison.Ordinal));
    }

    [PeerFact]
    public async Task A_client_that_leaves_takes_its_request_out_of_the_engine()
    {
        using var leaving = new CancellationTokenSource();
        var response = await peers.Fronted.PostAsync(Completion, Long(1500), cancellationToken: leaving.Token);
        using (var stream = await response.Content.ReadAsStreamAsync(leaving.Token))
        {
            Assert.NotEqual(0, await stream.ReadAsync(new byte[1], leaving.Token));
            Assert.Equal(1, await RunningAsync());
        }

        var before = await CancelledAsync();
        response.Dispose();
        await Polling.UntilAsync("the engine goes on with a request that nobody reads", Limit, async () => await RunningAsync() == 0);
        await Polling.UntilAsync("the request is not counted as cancelled", Limit, async () => await CancelledAsync() == before + 1);
    }

    [PeerFact]
    public async Task Calls_are_answered_as_by_vLLM_s_own_server()
    {
        using var channel = GrpcChannel.ForAddress(peers.GrpcAddress);
        var replay = new NativeReplay(channel);
        var differences = new List<string>();
        Assert.True(NativeReplay.Requests.Count > 20);
        foreach (var (name, captured) in NativeReplay.Requests)
        {
            var answer = await replay.StreamAsync(captured);
            var ours = Shape(name, answer);
            var native = Shape(
                name,
                new JsonObject { ["error"] = captured["error"]?.DeepClone(), ["messages"] = captured["messages"]?.DeepClone() }
            );
            // No more messages than there; fewer where the machine is busy, and tokens wait for each other.
            var more = answer["messages"]?.AsArray().Count - captured["messages"]?.AsArray().Count;
            if (more > 0)
            {
                differences.Add($"{name}: {more} messages more than the native server's");
            }

            if (!JsonNode.DeepEquals(native, ours))
            {
                differences.Add($"{name}\n  ours   {ours.ToJsonString()}\n  native {native.ToJsonString()}");
            }
        }

        Assert.True(differences.Count == 0, string.Join('\n', differences));
    }

    [PeerFact]
    public async Task The_engine_describes_itself_as_vLLM_s_own_server_describes_it()
    {
        using var channel = GrpcChannel.ForAddress(peers.GrpcAddress);
        var control = new Control.ControlClient(channel);
        var server = await control.GetServerInfoAsync(new GetServerInfoRequest());
        server.InstanceId = "";
        Assert.Equal(Captured<ServerInfo>("GetServerInfo", info => info.InstanceId = ""), server);
        var model = await control.GetModelInfoAsync(new GetModelInfoRequest());
        Assert.Equal(Peers.TinyModel, model.ModelId);
        model.ModelId = "";
        Assert.Equal(Captured<ModelInfo>("GetModelInfo", info => info.ModelId = ""), model);
        var source = Assert.Single((await control.GetKvEventSourcesAsync(new GetKvEventSourcesRequest())).Sources);
        Assert.Equal(("zmq", "msgpack", 0u), (source.Transport, source.Encoding, source.DataParallelRank));
        // What the sidecar subscribes to: it tells its own frontend of blocks.
        Assert.Contains(peers.Sidecar.Lines, line => line.Contains("Serving tiny", StringComparison.Ordinal));
    }

    [PeerFact]
    public async Task A_gateway_s_calls_are_answered_as_by_vLLM_s_server_for_it()
    {
        using var channel = GrpcChannel.ForAddress(peers.GrpcAddress);
        var replay = new GatewayReplay(channel);
        Assert.True(GatewayReplay.Calls.Count > 15);
        // Which prompts are in the cache is captured, too.
        var flushed = await replay.Engine.FlushCacheAsync(new Gateway.FlushCacheRequest { TimeoutS = 1 });
        Assert.Equal(GatewayReplay.Captured<Gateway.FlushCacheResponse>("FlushCache"), flushed);
        var differences = await replay.CompareAsync();
        Assert.True(differences.Count == 0, string.Join('\n', differences));

        var model = await replay.Engine.GetModelInfoAsync(new Gateway.GetModelInfoRequest());
        Assert.Equal((Peers.TinyModel, Peers.TinyModel), (model.ModelPath, model.TokenizerPath));
        var known = GatewayReplay.Captured<Gateway.GetModelInfoResponse>("GetModelInfo");
        (model.ModelPath, model.TokenizerPath) = (known.ModelPath, known.TokenizerPath);
        Assert.Equal(known, model);
        var server = await replay.Engine.GetServerInfoAsync(new Gateway.GetServerInfoRequest());
        Assert.Equal("torch.float32", server.ModelDtype);
        var expected = GatewayReplay.Captured<Gateway.GetServerInfoResponse>("GetServerInfo");
        // What is said beyond it, and what is said of media there.
        (expected.ServerType, expected.ModelDtype) = ("vllm-grpc", server.ModelDtype);
        (expected.ShmNamespaceId, expected.MultimodalEncoderDtype) = ("", "");
        Assert.Equal(expected, server);
        var loads = await replay.Engine.GetLoadsAsync(new Gateway.GetLoadsRequest { Include = { "core", "disagg", "queues", "memory" } });
        loads.Timestamp = "";
        var idle = GatewayReplay.Captured<Gateway.GetLoadsResponse>("GetLoads");
        idle.Timestamp = "";
        Assert.Equal(idle, loads);
    }

    [PeerFact]
    public async Task A_gateway_hears_of_the_blocks_and_the_load_of_vLLM()
    {
        using var channel = GrpcChannel.ForAddress(peers.GrpcAddress);
        var engine = new GatewayReplay(channel).Engine;
        using var events = engine.SubscribeKvEvents(new Gateway.SubscribeKvEventsRequest { LoadRecordsBeforeFirstBatch = true });
        await events.ResponseHeadersAsync.WaitAsync(TimeSpan.FromSeconds(2));
        uint[] prompt = [.. Enumerable.Range(1500, 80).Select(id => (uint)id)];
        using var call = engine.Generate(
            new Gateway.GenerateRequest
            {
                RequestId = "blocks",
                Tokenized = new Gateway.TokenizedInput { InputIds = { prompt } },
                SamplingParams = new Gateway.SamplingParams { MaxTokens = 1900, IgnoreEos = true },
                Stream = true,
            }
        );
        Assert.True(await call.ResponseStream.MoveNext(CancellationToken.None));
        var stored = await NextAsync(batch =>
            batch.Events.Any(entry => entry.Stored?.Blocks.Any(block => block.TokenIds[0] == 1500) == true)
        );
        var blocks = stored.Events.Single(entry => entry.Stored is not null).Stored;
        Assert.Equal(prompt[..64], blocks.Blocks.SelectMany(block => block.TokenIds));
        Assert.All(blocks.Blocks, block => Assert.Equal(32, block.BlockSize));
        // As captured at vLLM's server for gateways.
        Assert.Equal(
            ("GPU", Gateway.KvCacheTier.Device, 0u, "full_attention", Gateway.KvCacheLocality.Local),
            (blocks.Medium, blocks.Tier, blocks.GroupIdx, blocks.KvCacheSpecKind, blocks.Locality)
        );
        Assert.False(blocks.HasParentBlockHash);
        Assert.Equal(0, stored.DpRank);
        var busy = await NextAsync(batch => batch.Load.RunningRequests > 0 && batch.Load.NumUsedTokens >= 80);
        Assert.Equal((128u, 16384), (busy.Load.MaxRunningRequests, busy.Load.MaxTotalNumTokens));
        await engine.AbortAsync(new Gateway.AbortRequest { RequestIds = { "blocks" } });
        var last = call.ResponseStream.Current;
        while (await call.ResponseStream.MoveNext(CancellationToken.None))
        {
            last = call.ResponseStream.Current;
        }

        Assert.Equal("abort", last.Complete.FinishReason);
        await NextAsync(batch => batch.Load is { RunningRequests: 0, LoadOnly: true });

        async Task<Gateway.KvEventBatch> NextAsync(Predicate<Gateway.KvEventBatch> wanted)
        {
            using var limit = new CancellationTokenSource(Limit);
            while (await events.ResponseStream.MoveNext(limit.Token))
            {
                if (wanted(events.ResponseStream.Current))
                {
                    return events.ResponseStream.Current;
                }
            }

            throw new InvalidOperationException("the stream has ended");
        }
    }

    [PeerFact]
    public async Task A_stream_that_runs_when_the_stop_comes_is_finished()
    {
        var ordinary = await SidecarFixture.AskAsync(peers.Ordinary, Completion, Long(200), isStreamed: true);
        using var response = await peers.Fronted.PostAsync(Completion, Long(200));
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        peers.Worker.Process.Signal("TERM");
        var answer = TextAnswer.OfEvents(await response.Content.ReadAsStringAsync().WaitAsync(Limit));
        Assert.Equal("length", answer["choice 0"]!["finish_reason"]!.GetValue<string>());
        Assert.Equal(ordinary["choice 0"]!["text"]!.GetValue<string>(), answer["choice 0"]!["text"]!.GetValue<string>());
        Assert.Equal(0, await peers.Worker.Process.ExitCodeAsync(Limit));
    }

    private static JsonObject Long(int tokens) =>
        new()
        {
            ["model"] = SidecarFixture.Model,
            ["prompt"] = "hello",
            ["max_tokens"] = tokens,
            ["temperature"] = 0,
            ["ignore_eos"] = true,
            ["stream"] = true,
        };

    private static T Captured<T>(string name, Action<T> withoutOwn)
        where T : Google.Protobuf.IMessage, new()
    {
        var line = Golden
            .Text("grpc/native-calls.jsonl")
            .Split('\n')
            .First(line => line.StartsWith($"{{\"name\":\"{name}\"", StringComparison.Ordinal));
        var parser = new Google.Protobuf.JsonParser(Google.Protobuf.JsonParser.Settings.Default);
        var message = parser.Parse<T>(JsonNode.Parse(line)!["response"]!.ToJsonString());
        withoutOwn(message);
        return message;
    }

    /// <summary>Cached tokens; and of logprobs the frontend shows none of a worker that gives text (as with vLLM's own server).</summary>
    private static void RemoveWhatTheContractHasNoFieldFor(JsonObject answer)
    {
        (answer["usage"] as JsonObject)?.Remove("prompt_tokens_details");
        foreach (var choice in answer["choices"]?.AsArray() ?? [])
        {
            choice!.AsObject().Remove("logprobs");
        }
    }

    /// <summary>
    /// What of an answer is the same at any precision: this engine computes in float32, the captured one did in bfloat16, and only the
    /// likeliest tokens of a model with random weights are far enough apart.
    /// </summary>
    private static JsonObject Shape(string name, JsonObject answer)
    {
        if (answer["error"] is JsonObject error)
        {
            var details = error["details"]!.GetValue<string>();
            // An id that was made for the request; what a parser says of JSON; what is not served here.
            var kept =
                name == "empty ids" ? "text request `"
                : name is "bad json schema" ? details.Split(':')[0]
                : name == "media on text model" ? ""
                : details;
            return new JsonObject
            {
                ["code"] = error["code"]!.DeepClone(),
                ["details"] = details.StartsWith(kept, StringComparison.Ordinal) ? kept : details,
            };
        }

        var messages = answer["messages"]!.AsArray();
        var shape = new JsonObject();
        foreach (var message in messages)
        {
            if (message!["prompt_info"] is JsonObject prompt)
            {
                shape["prompt"] = prompt["num_prompt_tokens"]!.DeepClone();
                shape["prompt tokens"] = prompt["token_ids"]?.DeepClone();
                shape["prompt logprobs"] = Rounded(prompt["logprobs"]);
                shape["prompt candidates"] = Candidates(prompt);
            }

            if (message["outputs"] is JsonObject outputs)
            {
                shape["text"] = (string?)shape["text"] + (string?)outputs["text"];
                Append(shape, "tokens", outputs["token_ids"]);
                Append(shape, "logprobs", Rounded(outputs["logprobs"]));
                Append(shape, "candidates", Candidates(outputs));
                shape["finish"] = outputs["finish_info"]?.DeepClone();
            }
        }

        if (name == "json schema")
        {
            shape.Remove("tokens"); // the same text, cut differently where two are as likely
        }

        if (EndsInsideCharacter.Contains(name) || name == "stream text logprobs")
        {
            shape["text"] = ((string?)shape["text"])!.TrimEnd('\uFFFD');
        }

        return shape;
    }

    private static void Append(JsonObject shape, string name, JsonNode? more)
    {
        if (more is JsonArray items)
        {
            shape[name] ??= new JsonArray();
            foreach (var item in items)
            {
                shape[name]!.AsArray().Add(item?.DeepClone());
            }
        }
    }

    /// <summary>Of each position the likeliest, and how many there are: of the rest many are nearly as likely as each other.</summary>
    private static JsonArray? Candidates(JsonObject part) =>
        part["candidate_tokens"] is JsonArray positions
            ? new JsonArray([
                .. positions
                    .Select(position => position!["tokens"] as JsonArray ?? [])
                    .Select(tokens => JsonValue.Create($"{tokens.FirstOrDefault()?["id"]} of {tokens.Count}")),
            ])
            : null;

    private static JsonArray? Rounded(JsonNode? numbers) =>
        numbers is JsonArray array
            ? new JsonArray([
                .. array.Select(number => JsonValue.Create(number!.GetValue<double>().ToString("0.0", CultureInfo.InvariantCulture))),
            ])
            : null;

    private async Task<double> RunningAsync() => await peers.Worker.MetricAsync("vllm:num_requests_running");

    private async Task<double> CancelledAsync() => await peers.Worker.MetricAsync("dynamo_component_cancellation_total", "\"generate\"");
}
