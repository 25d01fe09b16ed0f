using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Health.Stalls;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.Adapters;

/// <summary>Loads adapters into the engine and takes them out again, and keeps discovery in step (behaviour.md, 16).</summary>
/// <remarks>
/// Thread-safe. Its answers are the reference's word for word. Load: 1. take the name; 2. fetch; 3. engine; 4. card. Unload: 1. take the
/// name; 2. wait for the requests that use it; 3. card; 4. engine. A caller that gives up is heard before the engine is touched and no more
/// from there on: nobody would know what it holds.
/// </remarks>
public sealed partial class AdapterLifecycle
{
    private readonly AdapterTable _table;
    private readonly AdapterLimits _limits;
    private readonly AdapterEngine _engine;
    private readonly IAdapterSource? _source;
    private readonly IAdapterCards _cards;
    private readonly AdapterSwap _swap;
    private readonly bool _swapsLoaded;
    private readonly ILogger<AdapterLifecycle> _logger;

    /// <param name="table">What is loaded.</param>
    /// <param name="limits">What a load may ask for.</param>
    /// <param name="engine">Loads and removes.</param>
    /// <param name="source">Null where fetching is switched off.</param>
    /// <param name="cards">Tells frontends.</param>
    /// <param name="silence">The engine stands still while it loads.</param>
    /// <param name="swapsLoaded">A load of a name that is loaded replaces the adapter, instead of being done already.</param>
    /// <param name="logger">Log.</param>
    public AdapterLifecycle(
        AdapterTable table,
        AdapterLimits limits,
        IEngineControl engine,
        IAdapterSource? source,
        IAdapterCards cards,
        ExpectedSilence silence,
        bool swapsLoaded,
        ILogger<AdapterLifecycle> logger
    )
    {
        _table = table;
        _limits = limits;
        _engine = new AdapterEngine(engine, silence);
        _source = source;
        _cards = cards;
        _swap = new AdapterSwap(_engine, ForgetAsync, logger);
        _swapsLoaded = swapsLoaded;
        _logger = logger;
    }

    public Task<AdapterReply> ListAsync() => Task.FromResult(AdapterReply.List(_table.Loaded));

    public async Task<AdapterReply> LoadAsync(JsonNode? body, CancellationToken cancellationToken)
    {
        if (AdapterRequests.ReadLoad(body, out var problem) is not { } asked)
        {
            return AdapterReply.Failed(problem);
        }

        if (TooLong("lora_name", asked.Name, _limits.NameCharsMax) is { } longName)
        {
            return AdapterReply.Failed(longName);
        }

        return TooLong("source.uri", asked.Uri, _limits.UriCharsMax) is { } longUri
            ? AdapterReply.Failed(longUri)
            : await LoadAsync(asked.Name, asked.Uri, cancellationToken);
    }

    public async Task<AdapterReply> UnloadAsync(JsonNode? body, CancellationToken cancellationToken)
    {
        if (AdapterRequests.ReadUnload(body, out var problem) is not { } name)
        {
            return AdapterReply.Failed(problem);
        }

        using var change = await _table.BeginChangeAsync(name, cancellationToken);
        if (change.Current is not { } adapter)
        {
            var names = string.Join(", ", _table.Loaded.Select(loaded => PythonString.Represent(loaded.Name)));
            return AdapterReply.Failed($"LoRA adapter '{name}' not found. Available LoRAs: [{names}]");
        }

        if (change.IsFrozen)
        {
            return AdapterReply.Failed(
                $"Cannot unload LoRA '{name}' while generation is paused with active requests; resume generation or abort the "
                    + $"requests first",
                name
            );
        }

        await change.WhenIdleAsync(cancellationToken);
        return await UnloadAsync(change, adapter);
    }

    private async Task<AdapterReply> LoadAsync(string name, string uri, CancellationToken cancellationToken)
    {
        using var change = await _table.BeginChangeAsync(name, cancellationToken);
        var current = change.Current;
        if (current is not null && !_swapsLoaded)
        {
            return AdapterReply.Done($"LoRA adapter '{name}' already loaded", current, isHotSwap: false);
        }

        if (current is null && !change.TryReserve())
        {
            return AdapterReply.Failed($"LoRA capacity exceeded: at most {_limits.LoadedMax} adapter(s) may be loaded", name);
        }

        if (_source is null)
        {
            return AdapterReply.Failed("LoRAManager not initialized. Set DYN_LORA_ENABLED=true to enable URI-based LoRA loading.");
        }

        string path;
        try
        {
            LogFetching(_logger, name);
            path = await _source.FetchAsync(uri, cancellationToken);
        }
        catch (AdapterSourceException exception)
        {
            return AdapterReply.Failed($"Failed to download LoRA: {exception.Message}");
        }

        var adapter = new LoadedAdapter(name, AdapterId.Of(name), path);
        return current is null ? await LoadNewAsync(change, adapter) : await _swap.RunAsync(change, current, adapter, cancellationToken);
    }

    private async Task<AdapterReply> LoadNewAsync(AdapterChange change, LoadedAdapter adapter)
    {
        try
        {
            await _engine.AddAsync(adapter);
        }
        catch (EngineCallException exception)
        {
            return AdapterReply.Failed($"Failed to add LoRA '{adapter.Name}': {exception.Message}", adapter.Name);
        }

        change.Set(adapter); // before the card: who reads it may send a request at once, which then waits for the end of this change
        try
        {
            await _cards.PublishAsync(adapter, CancellationToken.None);
        }
        catch (Exception exception)
        {
            // Boundary mapping (style E3): whatever the store throws, the engine must not keep an adapter that nobody knows of.
            LogCannotPublish(_logger, adapter.Name, exception);
            await ForgetAsync(change, adapter);
            return AdapterReply.Failed(
                $"Failed to register LoRA '{adapter.Name}' in discovery registry: {exception.Message}",
                adapter.Name
            );
        }

        LogLoaded(_logger, adapter.Name, adapter.Id);
        return AdapterReply.Done($"LoRA adapter '{adapter.Name}' loaded successfully", adapter, isHotSwap: false);
    }

    private async Task<AdapterReply> UnloadAsync(AdapterChange change, LoadedAdapter adapter)
    {
        try
        {
            await _cards.WithdrawAsync(adapter.Name, CancellationToken.None);
        }
        catch (Exception exception)
        {
            // Boundary mapping (style E3): frontends may still send requests for it, so it stays.
            LogCannotWithdraw(_logger, adapter.Name, exception);
            return AdapterReply.Failed(
                $"Failed to unregister LoRA '{adapter.Name}' from discovery registry: {exception.Message}",
                adapter.Name
            );
        }

        try
        {
            await _engine.RemoveAsync(adapter);
        }
        catch (EngineCallException exception) when (!IsGoneAlready(exception))
        {
            return AdapterReply.Failed(exception.Message);
        }
        catch (EngineCallException)
        {
            // What was wanted.
        }

        change.Set(null);
        LogUnloaded(_logger, adapter.Name, adapter.Id);
        return AdapterReply.Done($"LoRA adapter '{adapter.Name}' unloaded successfully", adapter);
    }

    private static bool IsGoneAlready(EngineCallException exception) =>
        exception.Message.Contains("not loaded", StringComparison.OrdinalIgnoreCase)
        || exception.Message.Contains("not found", StringComparison.OrdinalIgnoreCase);

    private static string? TooLong(string field, string text, int charsMax) =>
        text.Length <= charsMax ? null : $"{field}: {text.Length} characters, at most {charsMax}";

    /// <summary>Out of the engine, the table and discovery, as far as each can be reached.</summary>
    private async Task ForgetAsync(AdapterChange change, LoadedAdapter adapter)
    {
        change.Set(null);
        try
        {
            await _cards.WithdrawAsync(adapter.Name, CancellationToken.None);
        }
        catch (Exception exception)
        {
            // Best-effort cleanup (style E3): the engine has still to forget it.
            LogCannotWithdraw(_logger, adapter.Name, exception);
        }

        try
        {
            await _engine.RemoveAsync(adapter);
        }
        catch (EngineCallException exception)
        {
            LogCannotRemove(_logger, adapter.Name, exception.Message);
        }
    }

    // Without the address: one may hold a credential.
    [LoggerMessage(EventId = 2701, Level = LogLevel.Information, Message = "Fetching LoRA adapter {Name}")]
    private static partial void LogFetching(ILogger logger, string name);

    [LoggerMessage(EventId = 2702, Level = LogLevel.Information, Message = "LoRA adapter {Name} is loaded with id {Id}")]
    private static partial void LogLoaded(ILogger logger, string name, int id);

    [LoggerMessage(EventId = 2704, Level = LogLevel.Information, Message = "LoRA adapter {Name} with id {Id} is unloaded")]
    private static partial void LogUnloaded(ILogger logger, string name, int id);

    [LoggerMessage(
        EventId = 2705,
        Level = LogLevel.Warning,
        Message = "Cannot publish the card of LoRA adapter {Name}; it is taken out of the engine again"
    )]
    private static partial void LogCannotPublish(ILogger logger, string name, Exception exception);

    [LoggerMessage(EventId = 2706, Level = LogLevel.Warning, Message = "Cannot withdraw the card of LoRA adapter {Name}")]
    private static partial void LogCannotWithdraw(ILogger logger, string name, Exception exception);

    [LoggerMessage(EventId = 2707, Level = LogLevel.Warning, Message = "The engine does not let go of LoRA adapter {Name}: {Problem}")]
    private static partial void LogCannotRemove(ILogger logger, string name, string problem);
}
