using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.Discovery;

namespace Dynamo.Vllm.Core.Discovery;

/// <summary>A discovery store, as one process that owns records in it. Calls come from one owner, one at a time.</summary>
public interface IDiscovery : IAsyncDisposable
{
    /// <summary>Name for logs and errors: file, etcd, kubernetes, mem.</summary>
    string Name { get; }

    /// <summary>
    /// The store lost this process (an expired lease) and gave it a new identity. The owner registers everything again under it;
    /// records of the old identity are gone.
    /// </summary>
    event Action<InstanceId>? IdentityChanged;

    /// <summary>Why others may not see this process, although it has registered; or null. Never waits.</summary>
    string? Hindrance => null;

    /// <summary>Connects, retrying up to the store's own limit, and takes an identity.</summary>
    Task<InstanceId> JoinAsync(CancellationToken cancellationToken);

    /// <summary>Creates a record, or replaces an own one with the same key.</summary>
    Task RegisterAsync(DiscoveryRecord record, CancellationToken cancellationToken);

    /// <summary>Removes an own record; one that is gone already is no error.</summary>
    Task UnregisterAsync(DiscoveryRecord record, CancellationToken cancellationToken);

    /// <summary>Removes every record of this process.</summary>
    Task LeaveAsync(CancellationToken cancellationToken);

    /// <summary>Values of the records that any process has now in the bucket under the prefix. Not watched: a look at one moment.</summary>
    /// <remarks>What another process wrote is not checked, beyond that it is a JSON object.</remarks>
    /// <exception cref="IOException">The store cannot be read.</exception>
    Task<IReadOnlyList<JsonObject>> ListAsync(string bucket, string keyPrefix, CancellationToken cancellationToken);

    /// <summary>The store's own clock, to a second; null where it does not tell.</summary>
    /// <exception cref="IOException">The store does not answer.</exception>
    Task<DateTimeOffset?> ReadClockAsync(CancellationToken cancellationToken) => Task.FromResult<DateTimeOffset?>(null);

    /// <summary>This process's records as the system server shows them under
    /// <c>/metadata</c>, or null where the store has no such view.</summary>
    JsonObject? Metadata { get; }
}
