using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Health.Stalls;

namespace Dynamo.Vllm.Core.Adapters;

/// <summary>The engine as far as adapters go. It stands still while it loads one, which is then no stall.</summary>
/// <remarks>No call is given up half-way: nobody would know what the engine holds.</remarks>
internal sealed class AdapterEngine(IEngineControl engine, ExpectedSilence silence)
{
    public async Task AddAsync(LoadedAdapter adapter)
    {
        using var expected = silence.Expect();
        await engine.AddLoraAsync(adapter.Name, adapter.Id, adapter.Path, CancellationToken.None);
    }

    public async Task RemoveAsync(LoadedAdapter adapter)
    {
        using var expected = silence.Expect();
        await engine.RemoveLoraAsync(adapter.Id, CancellationToken.None);
    }

    /// <returns>False where blocks are in use.</returns>
    public Task<bool> ResetPrefixCacheAsync(bool resetRunningRequests) =>
        engine.ResetPrefixCacheAsync(resetConnector: false, resetRunningRequests, CancellationToken.None);
}
