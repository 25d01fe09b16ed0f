using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.Discovery;

/// <summary>Everything that this worker has in the discovery store, and the order in which it appears and goes.</summary>
/// <remarks>
/// The only caller of <see cref="IDiscovery"/>. Records are kept as functions of the identity, so that a lost lease ends in the same
/// records under the new one. All changes run one after the other. Thread-safe. Leaving is a one-way door: from <see
/// cref="WithdrawAllAsync"/> or <see cref="LeaveAsync"/> on whatever would make something appear ends with <see
/// cref="WorkerLeavingException"/>, also what is under way or waits for its turn.
/// </remarks>
public sealed partial class WorkerRegistration : IAsyncDisposable
{
    private readonly IDiscovery _discovery;
    private readonly IRequestPlane _requests;
    private readonly ILogger<WorkerRegistration> _logger;
    private readonly OneWayDoor _door = new();
    private readonly RegisteredRecords _records;
    private readonly IdentityMove _move;
    private readonly List<WorkerRegistration> _companions = [];
    private bool _hasLeft;

    /// <param name="discovery">Owned from here on.</param>
    /// <param name="requests">Where endpoints take their requests.</param>
    /// <param name="deviceType">For the endpoint records: <c>cpu</c> or <c>cuda</c>.</param>
    /// <param name="codec">Codec that the endpoint records advertise.</param>
    /// <param name="logger">Log.</param>
    /// <param name="joined">The identity, if <paramref name="discovery"/> has one already; else call <see cref="JoinAsync"/>.</param>
    public WorkerRegistration(
        IDiscovery discovery,
        IRequestPlane requests,
        string deviceType,
        PayloadCodec codec,
        TimeProvider time,
        ILogger<WorkerRegistration> logger,
        InstanceId joined = default
    )
    {
        _discovery = discovery;
        _requests = requests;
        _logger = logger;
        _records = new RegisteredRecords(discovery, requests, deviceType, codec, joined);
        _move = new IdentityMove(_records, _door, PublishAsync, time, logger);
        _discovery.IdentityChanged += OnIdentityChanged;
    }

    /// <summary>The identity now; a lost lease changes it.</summary>
    public InstanceId Instance => _records.Instance;

    /// <summary>The worker is on its way out.</summary>
    public bool IsLeaving => _door.IsLeaving;

    /// <summary>One more identity of this process: whatever is put, served, hidden or withdrawn here is under that one, too.</summary>
    /// <param name="companion">Owned from here on. Before anything is put.</param>
    public void Add(WorkerRegistration companion) => _companions.Add(companion);

    public async Task JoinAsync(CancellationToken cancellationToken) => _records.Instance = await _discovery.JoinAsync(cancellationToken);

    /// <summary>Puts or replaces a record of any kind under a name of the caller's.</summary>
    /// <exception cref="WorkerLeavingException">The worker leaves.</exception>
    public async Task PutAsync(string name, Func<InstanceId, DiscoveryRecord> record, CancellationToken cancellationToken)
    {
        await PutAsync(name, new KeptRecord(record, null), cancellationToken);
        await EachAsync(companion => companion.PutAsync(name, record, cancellationToken));
    }

    /// <summary>Puts or replaces a record that is to be seen together with the endpoint only.</summary>
    /// <remarks>It goes before the endpoint is hidden or withdrawn, and comes back after it.</remarks>
    /// <exception cref="WorkerLeavingException">The worker leaves.</exception>
    public async Task PutWithAsync(
        ServedEndpoint endpoint,
        string name,
        Func<InstanceId, DiscoveryRecord> record,
        CancellationToken cancellationToken
    )
    {
        await PutAsync(name, new KeptRecord(record, endpoint), cancellationToken);
        await EachAsync(companion => companion.PutWithAsync(endpoint, name, record, cancellationToken));
    }

    /// <summary>Removes a record that was put under the name. One that the store did not let go of is known on, for another try.</summary>
    public async Task RemoveAsync(string name, CancellationToken cancellationToken)
    {
        await _door.InTurnAsync(async () =>
        {
            if (_records.Records.TryGetValue(name, out var record))
            {
                record.IsWanted = false;
                await _records.UnpublishAsync(record, cancellationToken);
                _records.Forget(name);
            }
        });
        await EachAsync(companion => companion.RemoveAsync(name, cancellationToken));
    }

    /// <summary>Values of the records that any process has in the bucket under the prefix, at this moment.</summary>
    public async Task<IReadOnlyList<JsonObject>> ListAsync(string bucket, string keyPrefix, CancellationToken cancellationToken)
    {
        IReadOnlyList<JsonObject> found = [];
        await _door.InTurnAsync(async () => found = await _discovery.ListAsync(bucket, keyPrefix, cancellationToken));
        return found;
    }

    /// <summary>Takes requests for the endpoint, then makes it visible: the listener is up before the record appears.</summary>
    /// <exception cref="WorkerLeavingException">The worker leaves.</exception>
    public Task ServeAsync(ServedEndpoint endpoint, CancellationToken cancellationToken) =>
        ShowAsync(endpoint, HiddenReasons.None, cancellationToken);

    /// <summary>Value of a served endpoint's record under the current identity.
    /// Only for records that are put here: it is called in turn.</summary>
    public JsonObject EndpointValue(ServedEndpoint endpoint) => _records.RecordOf(_records.Find(endpoint)!).Value;

    /// <summary>Where a served endpoint takes requests under the current identity, or null where it does not.</summary>
    public async Task<TransportAddress?> AddressOfAsync(ServedEndpoint endpoint)
    {
        TransportAddress? address = null;
        await _door.InTurnAsync(() =>
        {
            address = _records.Find(endpoint)?.Address;
            return Task.CompletedTask;
        });
        return address;
    }

    /// <summary>Makes the endpoint invisible until the reason is taken back; requests
    /// that still arrive are served. No effect once the worker leaves.</summary>
    public async Task HideAsync(ServedEndpoint endpoint, HiddenReasons reason, CancellationToken cancellationToken)
    {
        await _door.InTurnAsync(async () =>
        {
            if (_records.Find(endpoint) is { } entry)
            {
                entry.Hidden |= reason;
                foreach (var record in _records.Records.Values.Where(record => record.Endpoint == endpoint))
                {
                    await _records.UnpublishAsync(record, cancellationToken);
                }

                await _records.UnpublishAsync(entry, cancellationToken);
            }
        });
        await EachAsync(companion => companion.HideAsync(endpoint, reason, cancellationToken));
    }

    /// <summary>Takes a reason back, and makes the endpoint visible if none is left.</summary>
    /// <exception cref="WorkerLeavingException">The worker leaves.</exception>
    public async Task ShowAsync(ServedEndpoint endpoint, HiddenReasons reason, CancellationToken cancellationToken)
    {
        await _door.AppearAsync(
            async token =>
            {
                var entry = _records.FindOrAdd(endpoint);
                entry.Hidden &= ~reason;
                if (entry.Hidden == HiddenReasons.None)
                {
                    await _records.BindAsync(entry, token);
                    await PublishAsync(entry, token);
                    foreach (var record in _records.Records.Values.Where(record => record.Endpoint == endpoint && record.IsWanted))
                    {
                        await _records.PublishAsync(record, token);
                    }
                }
            },
            cancellationToken
        );
        await EachAsync(companion => companion.ShowAsync(endpoint, reason, cancellationToken));
    }

    /// <summary>Takes one endpoint out of the store for good.</summary>
    public async Task WithdrawAsync(ServedEndpoint endpoint, CancellationToken cancellationToken)
    {
        await _door.InTurnAsync(async () =>
        {
            if (_records.Find(endpoint) is { } entry)
            {
                await _records.UnpublishAsync(entry, cancellationToken);
            }
        });
        await EachAsync(companion => companion.WithdrawAsync(endpoint, cancellationToken));
    }

    /// <summary>The worker leaves: makes every endpoint invisible, and before that what is seen with one.</summary>
    /// <remarks>Goes on after a failure: the rest must still be withdrawn.</remarks>
    public async Task WithdrawAllAsync(CancellationToken cancellationToken)
    {
        await Task.WhenAll(WithdrawOwnAsync(cancellationToken), EachAsync(companion => companion.WithdrawAllAsync(cancellationToken)));
    }

    /// <summary>Refuses later requests for every endpoint.</summary>
    public async Task CloseIntakeAsync()
    {
        await _door.InTurnAsync(async () =>
        {
            foreach (var entry in _records.Endpoints)
            {
                await _requests.UnbindAsync(entry.Endpoint, Instance);
            }
        });
        await EachAsync(companion => companion.CloseIntakeAsync());
    }

    /// <summary>The worker leaves: removes everything that is left in the
    /// store. Tried once: a store that was away then lets it expire.</summary>
    public async Task LeaveAsync(CancellationToken cancellationToken)
    {
        if (_hasLeft)
        {
            return;
        }

        _hasLeft = true;
        await Task.WhenAll(LeaveOwnAsync(cancellationToken), EachAsync(companion => companion.LeaveAsync(cancellationToken)));
    }

    public async ValueTask DisposeAsync()
    {
        _discovery.IdentityChanged -= OnIdentityChanged;
        await _discovery.DisposeAsync();
        _door.Dispose();
        await EachAsync(companion => companion.DisposeAsync().AsTask());
    }

    private async Task WithdrawOwnAsync(CancellationToken cancellationToken)
    {
        await _door.LeaveAsync();
        await _door.InTurnAsync(async () =>
        {
            foreach (var (name, record) in _records.Records.Where(record => record.Value.Endpoint is not null))
            {
                await WithdrawAsync(name, () => _records.UnpublishAsync(record, cancellationToken));
            }

            foreach (var entry in _records.Endpoints)
            {
                await WithdrawAsync(entry.Endpoint.Id.ToString(), () => _records.UnpublishAsync(entry, cancellationToken));
            }
        });
    }

    private async Task LeaveOwnAsync(CancellationToken cancellationToken)
    {
        await _door.LeaveAsync();
        await _door.InTurnAsync(() => _discovery.LeaveAsync(cancellationToken));
    }

    private Task EachAsync(Func<WorkerRegistration, Task> step) => Task.WhenAll(_companions.Select(step));

    private async Task WithdrawAsync(string name, Func<Task> withdraw)
    {
        try
        {
            await withdraw();
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            // Best-effort cleanup (style E3): an unreachable store must not keep the worker from draining.
            LogCannotWithdraw(_logger, name, exception);
        }
    }

    private Task PutAsync(string name, KeptRecord record, CancellationToken cancellationToken) =>
        _door.AppearAsync(
            async token =>
            {
                _records.Keep(name, record);
                if (record.Endpoint is null || _records.Find(record.Endpoint) is { Hidden: HiddenReasons.None })
                {
                    await _records.PublishAsync(record, token);
                }
            },
            cancellationToken
        );

    private async Task PublishAsync(RegisteredEndpoint entry, CancellationToken cancellationToken)
    {
        await _records.PublishAsync(entry, cancellationToken);
        LogServing(_logger, entry.Endpoint.Id.ToString(), entry.Address!.Value);
    }

    private void OnIdentityChanged(InstanceId instance) => _ = _move.ToAsync(instance);

    [LoggerMessage(EventId = 2101, Level = LogLevel.Information, Message = "Serving {Endpoint} at {Address}")]
    private static partial void LogServing(ILogger logger, string endpoint, string address);

    [LoggerMessage(EventId = 2102, Level = LogLevel.Warning, Message = "Cannot withdraw {Endpoint} from discovery; its record will expire")]
    private static partial void LogCannotWithdraw(ILogger logger, string endpoint, Exception exception);
}
