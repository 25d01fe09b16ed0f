using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Health.Stalls;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.UnitTests.Core.Adapters;

/// <summary>Answers word for word as the official worker gave them, and what engine and discovery hold afterwards.</summary>
public sealed class AdapterLifecycleTests
{
    private const int Id = 1500095571; // of "a"

    private readonly List<string> _steps = [];
    private readonly ScriptedEngine _engine = new();
    private readonly AdapterTable _table = new(new AdapterLimits { LoadedMax = 2 });
    private readonly AdapterCardsFake _cards;
    private readonly Dictionary<string, EngineCallException> _failures = [];

    public AdapterLifecycleTests()
    {
        _cards = new AdapterCardsFake(_steps);
        _engine.Control.OnCall = call =>
        {
            _steps.Add(call);
            if (_failures.TryGetValue(call, out var failure))
            {
                throw failure;
            }
        };
    }

    [Theory]
    [InlineData("null", "Request is required with 'lora_name' and 'source.uri'")]
    [InlineData("[]", "Request is required with 'lora_name' and 'source.uri'")]
    [InlineData("{}", "'lora_name' is required and must be a string")]
    [InlineData("""{"lora_name":5}""", "'lora_name' is required and must be a string")]
    [InlineData("""{"lora_name":""}""", "'lora_name' is required and must be a string")]
    [InlineData("""{"lora_name":"e"}""", "'source' object is required in request")]
    [InlineData("""{"lora_name":"e","source":[]}""", "'source' object is required in request")]
    [InlineData("""{"lora_name":"e","source":{}}""", "'source' object is required in request")]
    [InlineData("""{"lora_name":"e","source":{"x":5}}""", "'source.uri' is required and must be a string")]
    [InlineData("""{"lora_name":"e","source":{"uri":5}}""", "'source.uri' is required and must be a string")]
    [InlineData("""{"lora_name":"e","source":{"uri":"nope"}}""", "Failed to download LoRA: Download failed: Local LoRA not found: nope")]
    public async Task A_load_that_asks_for_nothing_possible_is_refused(string body, string message)
    {
        var reply = await Create().LoadAsync(JsonNode.Parse(body), default);
        Assert.Equal(
            new JsonObject { ["status"] = "error", ["message"] = message }.ToJsonString(),
            reply.ToJson(withHotSwap: true).ToJsonString()
        );
        Assert.Empty(_steps);
    }

    [Theory]
    [InlineData("null", "Request is required with 'lora_name' field")]
    [InlineData("{}", "'lora_name' is required and must be a string")]
    [InlineData("""{"lora_name":5}""", "'lora_name' is required and must be a string")]
    [InlineData("""{"lora_name":"zz"}""", "LoRA adapter 'zz' not found. Available LoRAs: ['b', 'it']")]
    public async Task An_unload_of_nothing_is_refused(string body, string message)
    {
        await LoadAsync("b");
        await LoadAsync("it");
        var reply = await Create().UnloadAsync(JsonNode.Parse(body), default);
        Assert.Equal((false, message), (reply.IsSuccess, reply.Message));
    }

    [Fact]
    public async Task Names_and_addresses_have_a_length()
    {
        Assert.Equal("lora_name: 513 characters, at most 512", (await LoadAsync(new string('n', 513))).Message);
        Assert.Equal("source.uri: 4097 characters, at most 4096", (await LoadAsync("a", new string('u', 4097))).Message);
    }

    [Fact]
    public async Task A_load_goes_to_the_engine_and_then_to_discovery()
    {
        var reply = await LoadAsync("a");
        Assert.Equal(
            $$"""{"status":"success","message":"LoRA adapter 'a' loaded successfully","lora_name":"a","lora_id":{{Id}},"hot_swap":false}""",
            Text(reply.ToJson(withHotSwap: true))
        );
        Assert.Equal(["AddLora", "+card a"], _steps);
        Assert.Equal(new LoadedAdapter("a", Id, "/p"), Assert.Single(_table.Loaded));
        Assert.Equal(
            $$$"""{"status":"success","loras":{"a":{{{Id}}}},"count":1}""",
            Text((await Create().ListAsync()).ToJson(withHotSwap: false))
        );
    }

    [Fact]
    public async Task A_second_load_changes_nothing_whatever_its_address()
    {
        await LoadAsync("a");
        var reply = await LoadAsync("a", "nope");
        Assert.Equal(("LoRA adapter 'a' already loaded", Id, false), (reply.Message, reply.Id, reply.IsHotSwap));
        Assert.Equal(2, _steps.Count);
    }

    [Fact]
    public async Task What_the_engine_refuses_is_not_published()
    {
        _failures["AddLora"] = Failure("No adapter found for /p");
        var reply = await LoadAsync("a");
        Assert.Equal(
            """{"status":"error","message":"Failed to add LoRA 'a': No adapter found for /p","lora_name":"a"}""",
            Text(reply.ToJson(true))
        );
        Assert.Empty(_table.Loaded);
        Assert.Equal(["AddLora"], _steps);
    }

    [Fact]
    public async Task What_cannot_be_published_leaves_the_engine_again()
    {
        _cards.PublishFailure = new AdapterCardException("model update can only change runtime_config.taints");
        var reply = await LoadAsync("a");
        Assert.Equal(
            """{"status":"error","message":"Failed to register LoRA 'a' in discovery registry: model update can only change runtime_config.taints","lora_name":"a"}""",
            Text(reply.ToJson(true))
        );
        Assert.Equal(["AddLora", "RemoveLora"], _steps);
        Assert.Null(await _table.AdmitAsync("a", default));
    }

    [Fact]
    public async Task Without_a_source_nothing_is_loaded()
    {
        var reply = await Create(hasSource: false).LoadAsync(Body("a", "p"), default);
        Assert.Equal("LoRAManager not initialized. Set DYN_LORA_ENABLED=true to enable URI-based LoRA loading.", reply.Message);
    }

    [Fact]
    public async Task More_than_the_limit_are_refused()
    {
        await LoadAsync("a");
        await LoadAsync("b");
        var reply = await LoadAsync("c");
        Assert.Equal(("LoRA capacity exceeded: at most 2 adapter(s) may be loaded", "c"), (reply.Message, reply.Name));
    }

    [Fact]
    public async Task An_unload_waits_for_the_requests_then_withdraws_the_card_and_then_frees_the_engine()
    {
        await LoadAsync("a");
        _steps.Clear();
        var use = await _table.AdmitAsync("a", default);
        var unload = Create().UnloadAsync(Body("a", "p"), default);
        Assert.False(unload.IsCompleted);
        Assert.Empty(_steps);
        var late = _table.AdmitAsync("a", default).AsTask();
        use!.Dispose();
        Assert.Equal(
            $$"""{"status":"success","message":"LoRA adapter 'a' unloaded successfully","lora_name":"a","lora_id":{{Id}}}""",
            Text((await unload).ToJson(true))
        );
        Assert.Equal(["-card a", "RemoveLora"], _steps);
        await Assert.ThrowsAsync<Dynamo.Vllm.Protocol.Errors.RequestFailedException>(() => late);
    }

    [Fact]
    public async Task A_caller_that_gives_up_an_unload_leaves_the_adapter_as_it_is()
    {
        await LoadAsync("a");
        using var use = await _table.AdmitAsync("a", default);
        using var gone = new CancellationTokenSource();
        var unload = Create().UnloadAsync(Body("a", "p"), gone.Token);
        await gone.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => unload);
        (await _table.AdmitAsync("a", default))!.Dispose();
    }

    [Fact]
    public async Task A_card_that_cannot_be_withdrawn_keeps_the_adapter()
    {
        await LoadAsync("a");
        _cards.WithdrawFailure = new IOException("the store is away");
        var reply = await Create().UnloadAsync(Body("a", "p"), default);
        Assert.Equal("Failed to unregister LoRA 'a' from discovery registry: the store is away", reply.Message);
        Assert.DoesNotContain("RemoveLora", _steps);
        _cards.WithdrawFailure = null;
        Assert.True((await Create().UnloadAsync(Body("a", "p"), default)).IsSuccess);
    }

    [Theory]
    [InlineData("LoRA 5 is not loaded", true)]
    [InlineData("adapter not found", true)]
    [InlineData("out of memory", false)]
    public async Task An_engine_that_has_forgotten_it_already_is_no_failure(string text, bool isSuccess)
    {
        await LoadAsync("a");
        _failures["RemoveLora"] = Failure(text);
        Assert.Equal(isSuccess, (await Create().UnloadAsync(Body("a", "p"), default)).IsSuccess);
        Assert.Equal(isSuccess ? 0 : 1, _table.Loaded.Count);
    }

    [Fact]
    public async Task A_paused_adapter_with_requests_is_not_unloaded()
    {
        await LoadAsync("a");
        using var use = await _table.AdmitAsync("a", default);
        _table.Pause(keepsRequests: false);
        Assert.Equal(
            "Cannot unload LoRA 'a' while generation is paused with active requests; resume generation or abort the requests first",
            (await Create().UnloadAsync(Body("a", "p"), default)).Message
        );
        Assert.Equal(
            "Failed to remove existing LoRA 'a' before hot-swap: Cannot hot-swap LoRA 'a' while generation is paused with active requests; "
                + "resume generation or abort the requests first",
            (await SwapAsync()).Message
        );
    }

    [Fact]
    public async Task A_swap_replaces_the_adapter_and_drops_what_was_computed_with_the_old_one()
    {
        await LoadAsync("a");
        _steps.Clear();
        var reply = await SwapAsync();
        Assert.Equal(
            $$"""{"status":"success","message":"LoRA adapter 'a' hot-swapped successfully","lora_name":"a","lora_id":{{Id}},"hot_swap":true}""",
            Text(reply.ToJson(true))
        );
        Assert.Equal(["RemoveLora", "AddLora", "ResetPrefixCache"], _steps);
        Assert.Equal("/next", _table.Loaded[0].Path);
        Assert.Contains("a", _cards.Published);
    }

    [Fact]
    public async Task A_new_version_that_the_engine_refuses_brings_the_old_one_back()
    {
        await LoadAsync("a");
        _steps.Clear();
        var fails = true;
        _engine.Control.OnCall = call =>
        {
            _steps.Add(call);
            if (call == "AddLora" && fails)
            {
                fails = false;
                throw Failure("rank 64");
            }
        };
        Assert.Equal("Failed to add LoRA 'a': rank 64", (await SwapAsync()).Message);
        Assert.Equal(["RemoveLora", "AddLora", "AddLora"], _steps);
        Assert.Equal("/p", _table.Loaded[0].Path);
    }

    [Fact]
    public async Task A_swap_that_can_neither_go_on_nor_back_gives_the_name_up_in_discovery_too()
    {
        await LoadAsync("a");
        _failures["AddLora"] = Failure("no memory");
        Assert.False((await SwapAsync()).IsSuccess);
        Assert.Empty(_table.Loaded);
        Assert.Empty(_cards.Published);
    }

    [Fact]
    public async Task Blocks_in_use_may_stay_when_the_new_version_lies_elsewhere()
    {
        await LoadAsync("a");
        _engine.Control.CacheCanBeReset = false;
        _steps.Clear();
        Assert.True((await SwapAsync()).IsSuccess);
        Assert.Equal(["RemoveLora", "AddLora", "ResetPrefixCache"], _steps);
    }

    [Fact]
    public async Task For_a_version_in_the_same_place_they_are_given_up_by_force_and_a_cache_that_stays_undoes_the_swap()
    {
        await LoadAsync("a", "next");
        _engine.Control.CacheCanBeReset = false;
        _steps.Clear();
        var reply = await SwapAsync();
        Assert.Equal(
            ("LoRA 'a' hot-swap aborted; prefix cache reset failed: the engine holds blocks that are in use", Id),
            (reply.Message, reply.Id)
        );
        Assert.Equal(["RemoveLora", "AddLora", "ResetPrefixCache", "ResetPrefixCache", "RemoveLora", "AddLora"], _steps);
        Assert.Equal("/next", _table.Loaded[0].Path);
    }

    private static EngineCallException Failure(string text) => new("unknown", "Exception", text);

    private static JsonObject Body(string name, string uri) =>
        new()
        {
            ["lora_name"] = name,
            ["source"] = new JsonObject { ["uri"] = uri },
        };

    private static string Text(JsonObject json) =>
        json.ToJsonString(new JsonSerializerOptions { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping });

    private Task<AdapterReply> LoadAsync(string name, string uri = "p") => Create().LoadAsync(Body(name, uri), default);

    private Task<AdapterReply> SwapAsync() => Create(swaps: true).LoadAsync(Body("a", "next"), default);

    private AdapterLifecycle Create(bool hasSource = true, bool swaps = false) =>
        new(
            _table,
            new AdapterLimits { LoadedMax = 2 },
            _engine.Control,
            hasSource ? new AdapterSourceFake() : null,
            _cards,
            new ExpectedSilence(),
            swaps,
            NullLogger<AdapterLifecycle>.Instance
        );
}
