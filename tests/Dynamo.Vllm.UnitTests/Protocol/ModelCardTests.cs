using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.ModelCards;

namespace Dynamo.Vllm.UnitTests.Protocol;

using Dynamo.Vllm.Testing;

public sealed class ModelCardTests
{
    private static readonly JsonObject Cards = Golden.Json("llm/cards.json");

    private static readonly JsonObject Checksums = Golden.Json("llm/mdcsum.json");

    public static TheoryData<string> CardNames()
    {
        var names = new TheoryData<string>();
        foreach (var (name, _) in Checksums)
        {
            names.Add(name);
        }

        return names;
    }

    [Theory]
    [MemberData(nameof(CardNames))]
    public void Checksum_of_every_captured_card_equals_the_frontend_s_value(string name)
    {
        var card = Cards[name]!["record"]!["card_json"]!.AsObject();
        Assert.Equal(Checksums[name]!["preimage_hex"]!.GetValue<string>(), Convert.ToHexStringLower(ModelCardChecksum.Preimage(card)));
        Assert.Equal(Checksums[name]!["mdcsum"]!.GetValue<string>(), ModelCardChecksum.Compute(card));
    }

    [Theory]
    [InlineData("tiny|aggregated|vllm-aggregated-lora-parsers-selfhost")]
    [InlineData("tiny|prefill|vllm-prefill")]
    [InlineData("tiny|decode|vllm-decode")]
    public void Card_built_from_the_same_facts_equals_the_official_worker_s(string name)
    {
        var record = Cards[name]!["record"]!.AsObject();
        var expected = record["card_json"]!.AsObject();
        var built = Rebuild(expected);
        Assert.True(JsonNode.DeepEquals(expected, built), $"expected {expected.ToJsonString()}\nbuilt    {built.ToJsonString()}");
        Assert.Equal(WithoutRuntimeData(expected), WithoutRuntimeData(built));
    }

    [Theory]
    [InlineData("", "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262")]
    [InlineData("abc", "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85")]
    public void Blake3_of_short_inputs_equals_the_published_vectors(string input, string hash) =>
        Assert.Equal(hash, Blake3.Hasher.Hash(System.Text.Encoding.UTF8.GetBytes(input)).ToString());

    [Theory]
    [InlineData(1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7")]
    [InlineData(1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444")]
    [InlineData(8193, "bab6c09cb8ce8cf459261398d2e7aef35700bf488116ceb94a36d0f5f1b7bc3b")]
    [InlineData(31744, "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47")]
    public void Blake3_over_several_chunks_equals_the_published_vectors(int length, string hash)
    {
        // The published vectors hash the repeating sequence 0, 1, ..., 250.
        var input = Enumerable.Range(0, length).Select(i => (byte)(i % 251)).ToArray();
        Assert.Equal(hash, Blake3.Hasher.Hash(input).ToString());
    }

    [Theory]
    [InlineData("Org/My Adapter_v1", "org_my_adapter_v1")]
    [InlineData("Org/Self_Host.Model", "org_self_host_model")]
    [InlineData("/models/x", "models_x")]
    public void Slug_follows_the_captured_names(string name, string slug) => Assert.Equal(slug, Slug.Of(name));

    // runtime_data is a hash map in the reference: its key order changes from run to run.
    private static string WithoutRuntimeData(JsonObject card)
    {
        var copy = card.DeepClone().AsObject();
        copy["runtime_config"]!.AsObject()["runtime_data"] = null;
        return copy.ToJsonString();
    }

    private static JsonObject Rebuild(JsonObject card)
    {
        var runtime = card["runtime_config"]!.AsObject();
        var files = new ModelFiles
        {
            ModelInfo = File(card["model_info"]!["hf_config_json"]!),
            Tokenizer = File(card["tokenizer"]!["hf_tokenizer_json"]!),
            PromptFormatter = File(card["prompt_formatter"]!["hf_tokenizer_config_json"]!),
            ChatTemplate = File(card["chat_template_file"]!["hf_chat_template"]!["file"]!),
            GenerationConfig = File(card["gen_config"]!["hf_generation_config_json"]!),
            ArchitecturalContextLength = 4096,
        };
        return new ModelCard
        {
            DisplayName = "tiny",
            SourcePath = "/models/tiny",
            Files = files,
            KvCacheBlockSize = 128,
            ModelType = card["model_type"]!.GetValue<string>(),
            WorkerType = card["worker_type"]!.GetValue<string>(),
            Needs = [.. card["needs"]!.AsArray().Select(set => set!.AsArray().Select(role => role!.GetValue<string>()).ToList())],
            Aliases = [.. (card["aliases"]?.AsArray() ?? []).Select(alias => alias!.GetValue<string>())],
            RuntimeConfig = new ModelRuntimeConfig
            {
                ContextLength = 512,
                TotalKvBlocks = 16384,
                MaxNumSeqs = 4,
                MaxNumBatchedTokens = 2048,
                ToolCallParser = runtime["tool_call_parser"]?.GetValue<string>(),
                ReasoningParser = runtime["reasoning_parser"]?.GetValue<string>(),
                StructuralTag = runtime["structural_tag"]!.AsObject(),
                KvEventPublishingEnabled = false,
                RuntimeData = runtime["runtime_data"]!.AsObject(),
                MaxGpuLoraCount = runtime["max_gpu_lora_count"]?.GetValue<uint>(),
            },
        }.ToJson();
    }

    private static CheckedFile File(JsonNode file) =>
        new(file["path"]!.GetValue<string>(), file["checksum"]!.GetValue<string>()["blake3:".Length..], file["size"]!.GetValue<long>());
}
