using Dynamo.Vllm.Testing.Servers;
using Xunit;

namespace Dynamo.Vllm.Testing;

/// <summary>Needs one real server and nothing else: runs wherever the system's package of it is installed.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class ServerFactAttribute : FactAttribute
{
    public ServerFactAttribute(string program) => Skip = ServerPrograms.SkipReason(program);
}
