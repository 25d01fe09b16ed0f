using Dynamo.Vllm.Core.Adapters;

namespace Dynamo.Vllm.UnitTests.Core.Adapters;

/// <summary>Addresses are paths; <c>nope</c> is not there.</summary>
internal sealed class AdapterSourceFake : IAdapterSource
{
    public Task<string> FetchAsync(string uri, CancellationToken cancellationToken) =>
        uri == "nope"
            ? Task.FromException<string>(new AdapterSourceException("Download failed: Local LoRA not found: nope"))
            : Task.FromResult($"/{uri}");
}
