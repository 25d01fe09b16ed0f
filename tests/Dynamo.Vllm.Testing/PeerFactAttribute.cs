using Xunit;
using Xunit.Sdk;

namespace Dynamo.Vllm.Testing;

/// <summary>Needs real peers or servers (frontend, vLLM, etcd, nats-server).
/// Without them it is skipped on a developer's machine and fails in CI.</summary>
[TraitDiscoverer("Dynamo.Vllm.Testing.PeerTraitDiscoverer", "Dynamo.Vllm.Testing")]
[AttributeUsage(AttributeTargets.Method)]
public sealed class PeerFactAttribute : FactAttribute, ITraitAttribute
{
    public PeerFactAttribute() => Skip = SkipReason;

    public static string? SkipReason =>
        Peers.Folder is null && Environment.GetEnvironmentVariable("CI") != "true"
            ? "needs the official Dynamo and vLLM: run tests/peers/setup, and source the env.sh that it names"
            : null;
}
