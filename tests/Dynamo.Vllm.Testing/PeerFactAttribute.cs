using Xunit;

namespace Dynamo.Vllm.Testing;

/// <summary>Needs the real peers. Without them it is skipped on a developer's machine and fails in CI.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class PeerFactAttribute : FactAttribute
{
    public PeerFactAttribute()
    {
        if (Peers.Folder is null && Environment.GetEnvironmentVariable("CI") != "true")
        {
            Skip = "needs the real peers: run setup-peers and source its env.sh";
        }
    }
}
