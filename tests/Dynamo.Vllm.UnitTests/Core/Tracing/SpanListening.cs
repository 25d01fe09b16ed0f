namespace Dynamo.Vllm.UnitTests.Core.Tracing;

/// <summary>Listeners hear of every request of the process, so these tests run while no other does.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class SpanListening
{
    public const string Name = "span listening";
}
