using Dynamo.Vllm.Testing.Servers;
using Xunit;

namespace Dynamo.Vllm.Testing;

/// <summary>As <see cref="ServerFactAttribute"/>, with data.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class ServerTheoryAttribute : TheoryAttribute
{
    public ServerTheoryAttribute(string program) => Skip = ServerPrograms.SkipReason(program);
}
