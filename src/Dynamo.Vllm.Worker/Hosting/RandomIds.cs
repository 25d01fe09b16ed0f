using Dynamo.Vllm.Core;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>Ids that no other process makes.</summary>
internal sealed class RandomIds : IIdSource
{
    public string Next() => Guid.NewGuid().ToString();
}
