using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Adapters;

namespace Dynamo.Vllm.PeerTests;

/// <summary>The four prefill and decode workers with LoRA, and two adapters for them.</summary>
public sealed class AdapterFleet : DisaggregatedFleet
{
    private readonly TemporaryFolder _folder = new();

    protected override IReadOnlyList<string> Flags => AdapterPairFixture.Flags;

    protected override IReadOnlyDictionary<string, string> Environment { get; } =
        new Dictionary<string, string> { ["DYN_LORA_ENABLED"] = "true" };

    /// <summary>Prefill workers are probed with what they make up themselves, decode workers with three tokens.</summary>
    protected override IReadOnlyDictionary<string, string> VariablesOf(string mode)
    {
        var variables = new Dictionary<string, string> { ["DYN_HEALTH_CHECK_ENABLED"] = "true", ["DYN_CANARY_WAIT_TIME"] = "1" };
        if (mode == "decode")
        {
            variables["DYN_HEALTH_CHECK_PAYLOAD"] = """{"token_ids":[1,45,7],"stop_conditions":{"max_tokens":1}}""";
        }

        return variables;
    }

    /// <summary>An adapter that can be loaded, and one whose settings are missing.</summary>
    public string Good => Path.Combine(_folder.Path, "good");

    public string Broken => Path.Combine(_folder.Path, "broken");

    public override async Task InitializeAsync()
    {
        if (PeerFactAttribute.SkipReason is null)
        {
            await TestAdapter.MakeAsync(Peers.TinyModel, Good, 1);
            await TestAdapter.MakeAsync(Peers.TinyModel, Broken, 1);
            File.Delete(Path.Combine(Broken, "adapter_config.json"));
        }

        await base.InitializeAsync();
    }

    public override async Task DisposeAsync()
    {
        await base.DisposeAsync();
        _folder.Dispose();
    }
}
