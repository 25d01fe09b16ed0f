using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;

namespace Dynamo.Vllm.Core.Adapters;

/// <remarks>
/// The hot swap: 1. wait for the requests that use the old adapter; 2. old one out of the engine;
/// 3. new one in; 4. cached blocks away, which were computed with the old one under the same
/// name. A step that fails brings the old adapter back; if that fails, too, the name is given up.
/// </remarks>
public sealed partial class AdapterLifecycle
{
    private async Task<AdapterReply> SwapAsync(
        AdapterChange change,
        LoadedAdapter current,
        LoadedAdapter next,
        CancellationToken cancellationToken
    )
    {
        var name = next.Name;
        try
        {
            if (change.IsFrozen)
            {
                return AdapterReply.Failed(
                    $"Failed to remove existing LoRA '{name}' before hot-swap: Cannot hot-swap LoRA '{name}' while generation is "
                        + $"paused with active requests; resume generation or abort the requests first",
                    name
                );
            }

            await change.WhenIdleAsync(cancellationToken);
            await RemoveAsync(current);
        }
        catch (EngineCallException exception)
        {
            return AdapterReply.Failed($"Failed to remove existing LoRA '{name}' before hot-swap: {exception.Message}", name);
        }

        try
        {
            await AddAsync(next);
        }
        catch (EngineCallException exception)
        {
            await RestoreAsync(change, current);
            return AdapterReply.Failed($"Failed to add LoRA '{name}': {exception.Message}", name);
        }

        change.Set(next);
        try
        {
            await ForgetCachedBlocksAsync(isSamePath: next.Path == current.Path);
        }
        catch (EngineCallException exception)
        {
            await TakeBackAsync(change, current, next);
            return AdapterReply.Failed($"LoRA '{name}' hot-swap aborted; prefix cache reset failed: {exception.Message}", name, next.Id);
        }

        LogSwapped(_logger, name, next.Id);
        return AdapterReply.Done($"LoRA adapter '{name}' hot-swapped successfully", next, isHotSwap: true);
    }

    /// <summary>
    /// The engine refuses to drop blocks while a request of any model holds some. It knows an adapter's blocks by name and path, so that
    /// does no harm when the new version lies elsewhere; if it lies where the old one lay, the running requests are made to give their
    /// blocks up and compute them again. Without that the reference answers with the old adapter's blocks.
    /// </summary>
    private async Task ForgetCachedBlocksAsync(bool isSamePath)
    {
        if (await ResetAsync(resetRunningRequests: false) || !isSamePath)
        {
            return;
        }

        if (!await ResetAsync(resetRunningRequests: true))
        {
            throw new EngineCallException("unknown", "RuntimeError", "the engine holds blocks that are in use");
        }

        Task<bool> ResetAsync(bool resetRunningRequests) =>
            _engine.ResetPrefixCacheAsync(resetConnector: false, resetRunningRequests, CancellationToken.None);
    }

    private async Task TakeBackAsync(AdapterChange change, LoadedAdapter previous, LoadedAdapter failed)
    {
        try
        {
            await RemoveAsync(failed);
        }
        catch (EngineCallException exception)
        {
            LogCannotRemove(_logger, failed.Name, exception.Message);
            await ForgetAsync(change, failed); // which of the two the engine would use is not known
            return;
        }

        await RestoreAsync(change, previous);
    }

    private async Task RestoreAsync(AdapterChange change, LoadedAdapter previous)
    {
        try
        {
            await AddAsync(previous);
            change.Set(previous);
        }
        catch (EngineCallException exception)
        {
            LogCannotRestore(_logger, previous.Name, exception.Message);
            await ForgetAsync(change, previous);
        }
    }
}
