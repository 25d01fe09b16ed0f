using System.Text.Json.Nodes;
using Dynamo.Vllm.Core;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Protocol.Discovery;

namespace Dynamo.Vllm.Transports.Discovery;

/// <summary>Records in this process only (discovery.md, 6): nobody else sees them.</summary>
public sealed class MemoryDiscovery : IDiscovery
{
    private readonly Dictionary<string, DiscoveryRecord> _records = [];

    public event Action<InstanceId>? IdentityChanged
    {
        add { }
        remove { } // the identity lives as long as the process
    }

    public string Name => "mem";

    public JsonObject? Metadata => null;

    public IReadOnlyDictionary<string, DiscoveryRecord> Records => _records;

    public Task<InstanceId> JoinAsync(CancellationToken cancellationToken) => Task.FromResult(RandomInstance());

    public Task RegisterAsync(DiscoveryRecord record, CancellationToken cancellationToken)
    {
        _records[record.FullKey] = record;
        return Task.CompletedTask;
    }

    public Task UnregisterAsync(DiscoveryRecord record, CancellationToken cancellationToken)
    {
        _records.Remove(record.FullKey);
        return Task.CompletedTask;
    }

    public Task LeaveAsync(CancellationToken cancellationToken)
    {
        _records.Clear();
        return Task.CompletedTask;
    }

    public Task<IReadOnlyList<JsonObject>> ListAsync(string bucket, string keyPrefix, CancellationToken cancellationToken) =>
        Task.FromResult<IReadOnlyList<JsonObject>>([
            .. _records
                .Values.Where(record => record.Bucket == bucket && record.Key.StartsWith(keyPrefix, StringComparison.Ordinal))
                .Select(record => record.Value),
        ]);

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    /// <summary>64 random bits, as the file and memory stores use (runtime.md, 2).</summary>
    internal static InstanceId RandomInstance() => new(RandomBits.Next() | 1);
}
