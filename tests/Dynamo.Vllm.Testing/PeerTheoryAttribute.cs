using Xunit;

namespace Dynamo.Vllm.Testing;

/// <summary>As <see cref="PeerFactAttribute"/>, with data.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class PeerTheoryAttribute : TheoryAttribute
{
    public PeerTheoryAttribute() => Skip = PeerFactAttribute.SkipReason;
}
