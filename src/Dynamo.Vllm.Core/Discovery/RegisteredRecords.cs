using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;

namespace Dynamo.Vllm.Core.Discovery;

/// <summary>What this worker has in the discovery store, and what of it is there under the current identity.</summary>
/// <remarks>Used in the registration's turn only.</remarks>
internal sealed class RegisteredRecords
{
    private readonly IDiscovery _discovery;
    private readonly IRequestPlane _requests;
    private readonly string _deviceType;
    private readonly PayloadCodec _codec;
    private readonly Dictionary<string, KeptRecord> _records = [];
    private readonly List<RegisteredEndpoint> _endpoints = [];

    public RegisteredRecords(IDiscovery discovery, IRequestPlane requests, string deviceType, PayloadCodec codec, InstanceId instance)
    {
        _discovery = discovery;
        _requests = requests;
        _deviceType = deviceType;
        _codec = codec;
        Instance = instance;
    }

    public InstanceId Instance { get; set; }

    public IReadOnlyList<RegisteredEndpoint> Endpoints => _endpoints;

    /// <summary>By the names that their owners gave them.</summary>
    public IReadOnlyDictionary<string, KeptRecord> Records => _records;

    public RegisteredEndpoint? Find(ServedEndpoint endpoint) => _endpoints.Find(entry => entry.Endpoint == endpoint);

    public RegisteredEndpoint FindOrAdd(ServedEndpoint endpoint)
    {
        if (Find(endpoint) is { } known)
        {
            return known;
        }

        var entry = new RegisteredEndpoint(endpoint);
        _endpoints.Add(entry);
        return entry;
    }

    public void Keep(string name, KeptRecord record) => _records[name] = record;

    public void Forget(string name) => _records.Remove(name);

    public void ForgetUnwanted()
    {
        foreach (var name in _records.Where(record => !record.Value.IsWanted).Select(record => record.Key).ToList())
        {
            _records.Remove(name);
        }
    }

    public DiscoveryRecord RecordOf(RegisteredEndpoint entry) =>
        DiscoveryRecord.Endpoint(entry.Endpoint.Id, Instance, entry.Address!, _deviceType, _codec);

    public async Task BindAsync(RegisteredEndpoint entry, CancellationToken cancellationToken) =>
        entry.Address = await _requests.BindAsync(entry.Endpoint, Instance, cancellationToken);

    public async Task PublishAsync(KeptRecord record, CancellationToken cancellationToken)
    {
        record.IsPublished = true;
        await _discovery.RegisterAsync(record.For(Instance), cancellationToken);
    }

    public async Task PublishAsync(RegisteredEndpoint entry, CancellationToken cancellationToken)
    {
        entry.IsPublished = true;
        await _discovery.RegisterAsync(RecordOf(entry), cancellationToken);
    }

    // Remembered only once it is true: a store that was away must be asked again.
    public async Task UnpublishAsync(KeptRecord record, CancellationToken cancellationToken)
    {
        if (record.IsPublished)
        {
            await _discovery.UnregisterAsync(record.For(Instance), cancellationToken);
            record.IsPublished = false;
        }
    }

    public async Task UnpublishAsync(RegisteredEndpoint entry, CancellationToken cancellationToken)
    {
        if (entry.IsPublished)
        {
            await _discovery.UnregisterAsync(RecordOf(entry), cancellationToken);
            entry.IsPublished = false;
        }
    }
}
