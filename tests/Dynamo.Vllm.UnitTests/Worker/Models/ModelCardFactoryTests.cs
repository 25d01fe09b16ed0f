using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.ModelCards;
using Dynamo.Vllm.UnitTests.Worker.Configuration;
using Dynamo.Vllm.Worker.Models;

namespace Dynamo.Vllm.UnitTests.Worker.Models;

/// <summary>What the card says of a role. The values are those of the reference's cards.</summary>
public sealed class ModelCardFactoryTests
{
    private static readonly EngineDescription Engine = new()
    {
        EngineVersion = "fake",
        Model = "m",
        MaxModelLength = 1024,
        BlockSize = 32,
        KvEventBlockSize = 32,
        MaxNumSeqs = 128,
        MaxNumBatchedTokens = 2048,
        NumGpuBlocks = 256,
        MaxLoras = 2,
    };

    [Theory]
    [InlineData("Chat | Completions", "Tokens")]
    [InlineData("Embedding", "Text", "--embedding-worker")]
    [InlineData("Embedding", "Text", "--embedding-worker", "--endpoint-types", "none")]
    [InlineData("Embedding", "Tokens", "--embedding-worker", "--embedding-frontend-tokenization")]
    public void Type_and_input_are_those_of_the_role(string type, string input, params string[] flags)
    {
        var card = Card(flags);
        Assert.Equal((type, input), (card["model_type"]!.GetValue<string>(), card["model_input"]!.GetValue<string>()));
        Assert.Equal("aggregated", card["worker_type"]!.GetValue<string>());
        Assert.Empty(card["needs"]!.AsArray());
    }

    [Fact]
    public void The_card_of_an_embedding_worker_promises_nothing_of_generation()
    {
        var config = Card("--embedding-worker", "--enable-lora")["runtime_config"]!;
        Assert.Equal(
            """{"tool_call_structural_tag_excludes_reasoning":false,"stream_interval":1}""",
            config["runtime_data"]!.ToJsonString()
        );
        Assert.Null(config["max_gpu_lora_count"]);
        Assert.Equal(2U, Card("--enable-lora")["runtime_config"]!["max_gpu_lora_count"]!.GetValue<uint>());
    }

    [Fact]
    public void The_probe_of_an_embedding_worker_asks_for_the_vector_of_one_word() =>
        Assert.Equal(
            """{"input":"probe","model":"served","_HEALTH_CHECK":true}""",
            HealthPayload.Create(HealthPayload.ForEmbedding("served"), null, Assert.Fail).ToJsonString()
        );

    private static JsonObject Card(params string[] flags)
    {
        var files = new ModelFiles { ModelInfo = new CheckedFile("/m/config.json", "c33d", 718) };
        return ModelCardFactory.Create(ResolverSample.Resolve(flags), Engine, files, TopologyFacts.None, []).ToJson();
    }
}
