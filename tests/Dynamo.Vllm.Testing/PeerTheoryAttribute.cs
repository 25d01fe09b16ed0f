using Xunit;
using Xunit.Sdk;

namespace Dynamo.Vllm.Testing;

/// <summary>As <see cref="PeerFactAttribute"/>, with data.</summary>
[TraitDiscoverer("Dynamo.Vllm.Testing.PeerTraitDiscoverer", "Dynamo.Vllm.Testing")]
[AttributeUsage(AttributeTargets.Method)]
public sealed class PeerTheoryAttribute : TheoryAttribute, ITraitAttribute
{
    public PeerTheoryAttribute() => Skip = PeerFactAttribute.SkipReason;
}
