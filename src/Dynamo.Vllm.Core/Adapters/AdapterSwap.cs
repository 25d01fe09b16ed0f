using Dynamo.Vllm.Core.Engines;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.Adapters;

/// <summary>Puts an adapter in the place of a loaded one of the same name: the hot swap (behaviour.md, 16).</summary>
/// <remarks>
/// 1. wait for the requests that use the old adapter; 2. old one out of the engine;
/// 3. new one in; 4. cached blocks away, which were computed with the old one under the same
/// name. A step that fails brings the old adapter back; if that fails, too, the name is given up.
/// </remarks>
internal sealed partial class AdapterSwap
{
    private readonly AdapterEngine _engine;
    private readonly Func<AdapterChange, LoadedAdapter, Task> _forget;
    private readonly ILogger _logger;

    /// <param name="engine">Loads and removes.</param>
    /// <param name="forget">Gives a name up: out of the engine, the table and discovery.</param>
    /// <param name="logger">Log.</param>
    public AdapterSwap(AdapterEngine engine, Func<AdapterChange, LoadedAdapter, Task> forget, ILogger logger)
    {
        _engine = engine;
        _forget = forget;
        _logger = logger;
    }

    public async Task<AdapterReply> RunAsync(
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
            await _engine.RemoveAsync(current);
        }
        catch (EngineCallException exception)
        {
            return AdapterReply.Failed($"Failed to remove existing LoRA '{name}' before hot-swap: {exception.Message}", name);
        }

        try
        {
            await _engine.AddAsync(next);
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
        if (await _engine.ResetPrefixCacheAsync(resetRunningRequests: false) || !isSamePath)
        {
            return;
        }

        if (!await _engine.ResetPrefixCacheAsync(resetRunningRequests: true))
        {
            throw new EngineCallException("unknown", "RuntimeError", "the engine holds blocks that are in use");
        }
    }

    private async Task TakeBackAsync(AdapterChange change, LoadedAdapter previous, LoadedAdapter failed)
    {
        try
        {
            await _engine.RemoveAsync(failed);
        }
        catch (EngineCallException exception)
        {
            LogCannotRemove(_logger, failed.Name, exception.Message);
            await _forget(change, failed); // which of the two the engine would use is not known
            return;
        }

        await RestoreAsync(change, previous);
    }

    private async Task RestoreAsync(AdapterChange change, LoadedAdapter previous)
    {
        try
        {
            await _engine.AddAsync(previous);
            change.Set(previous);
        }
        catch (EngineCallException exception)
        {
            LogCannotRestore(_logger, previous.Name, exception.Message);
            await _forget(change, previous);
        }
    }

    [LoggerMessage(EventId = 2703, Level = LogLevel.Information, Message = "LoRA adapter {Name} with id {Id} is swapped")]
    private static partial void LogSwapped(ILogger logger, string name, int id);

    [LoggerMessage(EventId = 2709, Level = LogLevel.Warning, Message = "The engine does not let go of LoRA adapter {Name}: {Problem}")]
    private static partial void LogCannotRemove(ILogger logger, string name, string problem);

    [LoggerMessage(
        EventId = 2708,
        Level = LogLevel.Error,
        Message = "LoRA adapter {Name} cannot be brought back after a failed swap and is given up: {Problem}"
    )]
    private static partial void LogCannotRestore(ILogger logger, string name, string problem);
}
