using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Core.Adapters;

/// <summary>The adapters that are loaded, who uses them, and who changes one. Thread-safe.</summary>
/// <remarks>
/// Changes of one adapter run one after the other, and no request is admitted to it meanwhile: it waits for the end of the change and then
/// finds the adapter as it is. So a request never meets an adapter that is half gone (behaviour.md, 16).
/// </remarks>
public sealed class AdapterTable
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, AdapterEntry> _entries = new(StringComparer.Ordinal);
    private readonly int _loadedMax;
    private long _loads;
    private bool _isPaused;

    public AdapterTable(AdapterLimits limits) => _loadedMax = limits.LoadedMax;

    /// <summary>In the order in which they were loaded; a swap keeps the place.</summary>
    public IReadOnlyList<LoadedAdapter> Loaded
    {
        get
        {
            lock (_lock)
            {
                var loaded = _entries.Values.Where(entry => entry.Loaded is not null).OrderBy(entry => entry.Order);
                return [.. loaded.Select(entry => entry.Loaded!)];
            }
        }
    }

    /// <summary>Lets a request use the adapter until the use is disposed.</summary>
    /// <returns>Null if no adapter has that name.</returns>
    /// <exception cref="RequestFailedException">It went away while the request waited, or generation is paused.</exception>
    public async ValueTask<AdapterUse?> AdmitAsync(string name, CancellationToken cancellationToken)
    {
        var hasWaited = false;
        while (true)
        {
            Task change;
            lock (_lock)
            {
                if (!_entries.TryGetValue(name, out var entry) || entry.Loaded is null)
                {
                    return hasWaited ? throw UnknownName(name) : null;
                }

                if (entry.Change is null)
                {
                    return _isPaused ? throw Paused(name) : entry.Use(this);
                }

                change = entry.Change.Task;
            }

            hasWaited = true;
            await change.WaitAsync(cancellationToken);
        }
    }

    /// <summary>Begins a change of the adapter that has or gets the name, after those that are under way. Dispose ends it.</summary>
    public async Task<AdapterChange> BeginChangeAsync(string name, CancellationToken cancellationToken)
    {
        while (true)
        {
            Task change;
            lock (_lock)
            {
                if (!_entries.TryGetValue(name, out var entry))
                {
                    _entries[name] = entry = new AdapterEntry(name);
                }

                if (entry.Change is null)
                {
                    entry.Change = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously); // not under this lock
                    return new AdapterChange(this, entry);
                }

                change = entry.Change.Task;
            }

            await change.WaitAsync(cancellationToken);
        }
    }

    /// <summary>From here on requests for adapters are refused, until <see cref="Resume"/>.</summary>
    /// <param name="keepsRequests">The pause freezes what runs: an adapter with such requests could not be unloaded any more.</param>
    /// <returns>The adapters in use, in the order of the alphabet, if they forbid the pause; else nothing.</returns>
    public IReadOnlyList<string> Pause(bool keepsRequests)
    {
        lock (_lock)
        {
            List<string> used = keepsRequests ? [.. _entries.Values.Where(entry => entry.Users > 0).Select(entry => entry.Name)] : [];
            used.Sort(StringComparer.Ordinal);
            _isPaused |= used.Count == 0;
            return used;
        }
    }

    public void Resume()
    {
        lock (_lock)
        {
            _isPaused = false;
        }
    }

    public static RequestFailedException UnknownName(string name) =>
        new(DynamoError.InvalidArgumentPrivate($"ValueError: unknown model or LoRA adapter: '{name}'"));

    internal void Leave(AdapterEntry entry)
    {
        lock (_lock)
        {
            if (--entry.Users == 0)
            {
                entry.Idle?.TrySetResult();
                entry.Idle = null;
            }
        }
    }

    internal LoadedAdapter? Find(AdapterEntry entry)
    {
        lock (_lock)
        {
            return entry.Loaded;
        }
    }

    internal void Set(AdapterEntry entry, LoadedAdapter? adapter)
    {
        lock (_lock)
        {
            entry.Order = entry.Loaded is null ? ++_loads : entry.Order;
            entry.Loaded = adapter;
        }
    }

    internal bool TryReserve(AdapterEntry entry)
    {
        lock (_lock)
        {
            entry.IsReserved = _entries.Values.Count(other => other.Loaded is not null || other.IsReserved) < _loadedMax;
            return entry.IsReserved;
        }
    }

    internal bool IsFrozen(AdapterEntry entry)
    {
        lock (_lock)
        {
            return _isPaused && entry.Users > 0;
        }
    }

    internal Task WhenIdle(AdapterEntry entry)
    {
        lock (_lock)
        {
            return entry.Users == 0
                ? Task.CompletedTask
                : (entry.Idle ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task; // not under this lock
        }
    }

    internal void EndChange(AdapterEntry entry)
    {
        lock (_lock)
        {
            entry.IsReserved = false;
            entry.Change!.TrySetResult();
            entry.Change = null;
            if (entry.Loaded is null)
            {
                _entries.Remove(entry.Name); // who waited for the change looks the name up again
            }
        }
    }

    private static RequestFailedException Paused(string name) =>
        new(DynamoError.Unknown($"RuntimeError: Cannot admit LoRA request '{name}' while generation is paused"));
}
