using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Protocol.Discovery;

namespace Dynamo.Vllm.Testing.Relay;

/// <summary>A store that remembers what was done to it, and can give a new identity.</summary>
public sealed class RecordingDiscovery : IDiscovery
{
    public string Name => "recording";

    public JsonObject? Metadata => null;

    /// <summary><c>+key</c> for a registration, <c>-key</c> for a removal.</summary>
    public List<string> Steps { get; } = [];

    public Dictionary<string, DiscoveryRecord> Records { get; } = [];

    /// <summary>Waited for before a registration is remembered.</summary>
    public Func<CancellationToken, Task>? BeforeRegistration { get; set; }

    /// <summary>Waited for before a removal is remembered.</summary>
    public Func<CancellationToken, Task>? BeforeRemoval { get; set; }

    public event Action<InstanceId>? IdentityChanged;

    public void Lose(InstanceId next) => IdentityChanged?.Invoke(next);

    public Task<InstanceId> JoinAsync(CancellationToken cancellationToken) => Task.FromResult(new InstanceId(11952163485983143320));

    public async Task RegisterAsync(DiscoveryRecord record, CancellationToken cancellationToken)
    {
        await (BeforeRegistration?.Invoke(cancellationToken) ?? Task.CompletedTask);
        lock (Steps)
        {
            Steps.Add($"+{record.FullKey}");
            Records[record.FullKey] = record;
        }
    }

    public async Task UnregisterAsync(DiscoveryRecord record, CancellationToken cancellationToken)
    {
        await (BeforeRemoval?.Invoke(cancellationToken) ?? Task.CompletedTask);
        lock (Steps)
        {
            Steps.Add($"-{record.FullKey}");
            Records.Remove(record.FullKey);
        }
    }

    public Task LeaveAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task<IReadOnlyList<JsonObject>> ListAsync(string bucket, string keyPrefix, CancellationToken cancellationToken) =>
        Task.FromResult<IReadOnlyList<JsonObject>>([
            .. Records
                .Values.Where(record => record.Bucket == bucket && record.Key.StartsWith(keyPrefix, StringComparison.Ordinal))
                .Select(record => record.Value),
        ]);

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
