using System.Diagnostics;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Classifying workers, on a model made with random weights that tells three classes apart.</summary>
public sealed class ClassificationFixture : NamedPairFixture
{
    public const string Classify = "/v1/classify";

    public const string Pooling = "/v1/pooling";

    private const string Script = """
        import shutil, sys
        import torch
        from transformers import AutoConfig, LlamaForSequenceClassification

        source, target = sys.argv[1:]
        torch.manual_seed(7)
        config = AutoConfig.from_pretrained(source)
        config.num_labels = 3
        config.id2label = {0: "negative", 1: "neutral", 2: "positive"}
        config.label2id = {name: number for number, name in config.id2label.items()}
        config.architectures = ["LlamaForSequenceClassification"]
        config.initializer_range = 0.2  # so that the classes differ
        LlamaForSequenceClassification(config).float().save_pretrained(target)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(f"{source}/{file}", target)
        """;

    public ClassificationFixture()
        : base(Classify, new JsonObject { ["input"] = "hello" }, ["--classify-worker", "--runner", "pooling"]) { }

    /// <summary>Lines as JSON, few of them, and vLLM's only where something is wrong.</summary>
    protected override IReadOnlyDictionary<string, string> Environment { get; } =
        new Dictionary<string, string>
        {
            ["DYN_LOGGING_JSONL"] = "1",
            ["DYN_LOG"] = "error,Dynamo.Vllm.Worker=info,dynamo_runtime::pipeline=info",
            ["VLLM_LOGGING_LEVEL"] = "ERROR",
        };

    protected override async Task<IReadOnlyList<string>> ModelAsync(string folder)
    {
        var target = Path.Combine(folder, "classifier");
        using var process = Process.Start(new ProcessStartInfo(Peers.Python, ["-c", Script, Peers.TinyModel, target]))!;
        await process.WaitForExitAsync();
        return process.ExitCode == 0
            ? ["--model", target]
            : throw new InvalidOperationException($"the model cannot be made: exit code {process.ExitCode}");
    }
}
