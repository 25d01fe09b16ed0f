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
