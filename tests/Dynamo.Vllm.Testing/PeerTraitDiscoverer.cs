using Xunit.Abstractions;
using Xunit.Sdk;

namespace Dynamo.Vllm.Testing;

/// <summary>Gives every test that needs peers the trait by which CI runs them apart: the others have run without peers.</summary>
public sealed class PeerTraitDiscoverer : ITraitDiscoverer
{
    public IEnumerable<KeyValuePair<string, string>> GetTraits(IAttributeInfo traitAttribute) => [KeyValuePair.Create("Category", "Peers")];
}
