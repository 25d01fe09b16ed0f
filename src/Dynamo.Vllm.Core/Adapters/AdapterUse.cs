namespace Dynamo.Vllm.Core.Adapters;

/// <summary>A request's hold on an adapter: it is neither unloaded nor swapped before this is disposed.</summary>
public sealed class AdapterUse : IDisposable
{
    private readonly AdapterTable _table;
    private AdapterEntry? _entry;

    internal AdapterUse(AdapterTable table, AdapterEntry entry, LoadedAdapter adapter)
    {
        _table = table;
        _entry = entry;
        Adapter = adapter;
    }

    public LoadedAdapter Adapter { get; }

    public void Dispose()
    {
        if (Interlocked.Exchange(ref _entry, null) is { } entry)
        {
            _table.Leave(entry);
        }
    }
}
