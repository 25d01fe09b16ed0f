namespace Dynamo.Vllm.Core.Adapters;

/// <summary>The exclusive right to change one adapter. Disposing it lets the requests in that wait.</summary>
public sealed class AdapterChange : IDisposable
{
    private readonly AdapterTable _table;
    private readonly AdapterEntry _entry;
    private bool _isOver;

    internal AdapterChange(AdapterTable table, AdapterEntry entry)
    {
        _table = table;
        _entry = entry;
    }

    /// <summary>What is loaded under the name, or null.</summary>
    public LoadedAdapter? Current => _table.Find(_entry);

    /// <summary>Generation is paused with requests of the adapter in it, so that it cannot become idle.</summary>
    public bool IsFrozen => _table.IsFrozen(_entry);

    /// <summary>Takes a place for one more adapter, until the change ends. False: all are taken.</summary>
    public bool TryReserve() => _table.TryReserve(_entry);

    /// <summary>Completes when no request uses the adapter; none is admitted any more.</summary>
    public Task WhenIdleAsync(CancellationToken cancellationToken) => _table.WhenIdle(_entry).WaitAsync(cancellationToken);

    public void Set(LoadedAdapter? adapter) => _table.Set(_entry, adapter);

    public void Dispose()
    {
        if (!_isOver)
        {
            _isOver = true;
            _table.EndChange(_entry);
        }
    }
}
