using System.Net;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.ModelCards;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Relay;
using Dynamo.Vllm.UnitTests.Core;
using Dynamo.Vllm.Worker.Models;
using Dynamo.Vllm.Worker.StatusPort;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.UnitTests.Worker.Models;

/// <summary>One card for each adapter, under keys and addresses that the official
/// worker uses; and what it says of names that exclude each other.</summary>
public sealed class AdapterCardsTests
{
    private readonly RecordingDiscovery _store = new();
    private readonly HostedFiles _hosted = new();
    private readonly AdapterCards _cards;
    private readonly ServedEndpoint _generate;
    private readonly WorkerRegistration _registration;

    public AdapterCardsTests()
    {
        _registration = new WorkerRegistration(
            _store,
            new RequestPlaneFake(),
            "cpu",
            PayloadCodec.MessagePack,
            TimeProvider.System,
            NullLogger<WorkerRegistration>.Instance,
            new InstanceId(0x5ffe40e078698382)
        );
        var id = new EndpointId("dynamo", "backend", "generate");
        _generate = Endpoints.Create(id);
        var files = new ModelFiles { ModelInfo = new CheckedFile("/models/tiny/config.json", "c33d", 718) };
        _cards = new AdapterCards(
            _registration,
            _generate,
            new MetadataHost(_hosted, new IPEndPoint(IPAddress.Loopback, 28451), id),
            files,
            "tiny",
            new HashSet<string> { "tiny", "ali", "/models/tiny" },
            (hosted, adapter) =>
                new ModelCard
                {
                    DisplayName = adapter.Name,
                    Files = hosted,
                    KvCacheBlockSize = 32,
                    ModelType = "Chat | Completions",
                    WorkerType = "aggregated",
                    LoraName = adapter.Name,
                    LoraMaxGpuCount = 2,
                    UserData = new JsonObject { ["lora_adapter"] = true, ["lora_id"] = adapter.Id },
                    RuntimeConfig = new ModelRuntimeConfig(),
                }
        );
    }

    [Fact]
    public async Task A_card_has_the_captured_key_suffix_and_identity()
    {
        var golden = Golden.Json("llm/lora.json")["cards"]!["dynamo%2Fbackend%2Fgenerate%2F5ffe40e078698382%2Forg%5Fmy%2Dlora%5Fv1"]!;
        await _registration.ServeAsync(_generate, default);
        await PublishAsync("Org/My-LoRA.v1");
        var value = _store.Records["v1/mdc/dynamo/backend/generate/5ffe40e078698382/org_my-lora_v1"].Value;
        Assert.Equal((string?)golden["model_suffix"], (string?)value["model_suffix"]);
        foreach (var field in (string[])["display_name", "slug", "lora", "user_data"])
        {
            Assert.True(
                JsonNode.DeepEquals(golden["card_json"]![field], value["card_json"]![field]),
                $"{field}: {value["card_json"]![field]}"
            );
        }

        var path = (string)value["card_json"]!["model_info"]!["hf_config_json"]!["path"]!;
        Assert.Equal("http://127.0.0.1:28451/v1/metadata/dynamo/backend/generate/org_my-lora_v1/org_my-lora_v1/config.json", path);
        Assert.Equal("/models/tiny/config.json", _hosted.Find(path[path.IndexOf("dynamo/", StringComparison.Ordinal)..]));
        await _cards.WithdrawAsync("Org/My-LoRA.v1", default);
        Assert.Single(_store.Records);
        Assert.Null(_hosted.Find(path[path.IndexOf("dynamo/", StringComparison.Ordinal)..]));
        await PublishAsync("org_my-lora_v1"); // the slug is free again
    }

    [Theory]
    [InlineData(
        "tiny",
        "Cannot register model 'tiny' on endpoint 'dynamo/backend/generate': a different model 'tiny' is already registered there"
    )]
    [InlineData(
        "ali",
        "Cannot register model 'ali' on endpoint 'dynamo/backend/generate': a different model 'tiny' is already registered there"
    )]
    [InlineData(
        "/models/tiny",
        "Cannot register model '/models/tiny' on endpoint 'dynamo/backend/generate': a different model 'tiny' is already registered there"
    )]
    [InlineData("P", "model update can only change runtime_config.taints")]
    [InlineData("___", "model update cannot change discovery identity")]
    [InlineData("\u00e9", "model update cannot change discovery identity")]
    public async Task A_name_whose_place_is_taken_or_that_has_none_is_refused(string name, string message)
    {
        await _registration.ServeAsync(_generate, default);
        await PublishAsync("p");
        var failure = await Assert.ThrowsAsync<AdapterCardException>(() => PublishAsync(name));
        Assert.Equal(message, failure.Message);
        await _cards.WithdrawAsync(name, default); // what a failed load does: the other one stays
        Assert.Contains("v1/mdc/dynamo/backend/generate/5ffe40e078698382/p", _store.Records.Keys);
    }

    private async Task PublishAsync(string name) => await _cards.PublishAsync(new LoadedAdapter(name, AdapterId.Of(name), "/a"), default);
}
