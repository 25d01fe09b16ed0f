namespace Dynamo.Vllm.PeerTests;

/// <summary>Test classes that share one fleet, since its start takes a minute and a half.</summary>
[CollectionDefinition(Name)]
public sealed class MixedFleet : ICollectionFixture<MixedFleetFixture>
{
    public const string Name = "mixed fleet";
}
