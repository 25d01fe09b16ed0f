using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Lifecycle;
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
    private static readonly TimeSpan BindTimeLimit = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan BindRetryWait = TimeSpan.FromSeconds(1);

    private readonly IDiscovery _discovery;
    private readonly IRequestPlane _requests;
    private readonly string _deviceType;
    private readonly PayloadCodec _codec;
    private readonly TimeProvider _time;
    private readonly ILogger<WorkerRegistration> _logger;
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly CancellationTokenSource _leaving = new();
    private readonly List<RegisteredEndpoint> _endpoints = [];
    private readonly Dictionary<string, KeptRecord> _records = [];
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
        Instance = joined;
        _requests = requests;
        _deviceType = deviceType;
        _codec = codec;
        _time = time;
        _logger = logger;
        _discovery.IdentityChanged += OnIdentityChanged;
    }

    /// <summary>The identity now; a lost lease changes it.</summary>
    public InstanceId Instance { get; private set; }

    /// <summary>The worker is on its way out.</summary>
    public bool IsLeaving => _leaving.IsCancellationRequested;

    public async Task JoinAsync(CancellationToken cancellationToken) => Instance = await _discovery.JoinAsync(cancellationToken);

    /// <summary>Puts or replaces a record of any kind under a name of the caller's.</summary>
    /// <exception cref="WorkerLeavingException">The worker leaves.</exception>
    public Task PutAsync(string name, Func<InstanceId, DiscoveryRecord> record, CancellationToken cancellationToken) =>
        PutAsync(name, new KeptRecord(record, null), cancellationToken);

    /// <summary>Puts or replaces a record that is to be seen together with the endpoint only.</summary>
    /// <remarks>It goes before the endpoint is hidden or withdrawn, and comes back after it.</remarks>
    /// <exception cref="WorkerLeavingException">The worker leaves.</exception>
    public Task PutWithAsync(
        ServedEndpoint endpoint,
        string name,
        Func<InstanceId, DiscoveryRecord> record,
        CancellationToken cancellationToken
    ) => PutAsync(name, new KeptRecord(record, endpoint), cancellationToken);

    /// <summary>Removes a record that was put under the name. One that the store did not let go of is known on, for another try.</summary>
    public Task RemoveAsync(string name, CancellationToken cancellationToken) =>
        InTurnAsync(async () =>
        {
            if (_records.TryGetValue(name, out var record))
            {
                record.IsWanted = false;
                await UnpublishAsync(record, cancellationToken);
                _records.Remove(name);
            }
        });

    /// <summary>Values of the records that any process has in the bucket under the prefix, at this moment.</summary>
    public async Task<IReadOnlyList<JsonObject>> ListAsync(string bucket, string keyPrefix, CancellationToken cancellationToken)
    {
        IReadOnlyList<JsonObject> found = [];
        await InTurnAsync(async () => found = await _discovery.ListAsync(bucket, keyPrefix, cancellationToken));
        return found;
    }

    /// <summary>Takes requests for the endpoint, then makes it visible: the listener is up before the record appears.</summary>
    /// <exception cref="WorkerLeavingException">The worker leaves.</exception>
    public Task ServeAsync(ServedEndpoint endpoint, CancellationToken cancellationToken) =>
        ShowAsync(endpoint, HiddenReasons.None, cancellationToken);

    /// <summary>Value of a served endpoint's record under the current identity.
    /// Only for records that are put here: it is called in turn.</summary>
    public JsonObject EndpointValue(ServedEndpoint endpoint) => RecordOf(Find(endpoint)!).Value;

    /// <summary>Where a served endpoint takes requests under the current identity, or null where it does not.</summary>
    public async Task<TransportAddress?> AddressOfAsync(ServedEndpoint endpoint)
    {
        TransportAddress? address = null;
        await InTurnAsync(() =>
        {
            address = Find(endpoint)?.Address;
            return Task.CompletedTask;
        });
        return address;
    }

    /// <summary>Makes the endpoint invisible until the reason is taken back; requests
    /// that still arrive are served. No effect once the worker leaves.</summary>
    public Task HideAsync(ServedEndpoint endpoint, HiddenReasons reason, CancellationToken cancellationToken) =>
        InTurnAsync(async () =>
        {
            if (Find(endpoint) is { } entry)
            {
                entry.Hidden |= reason;
                foreach (var record in _records.Values.Where(record => record.Endpoint == endpoint))
                {
                    await UnpublishAsync(record, cancellationToken);
                }

                await UnpublishAsync(entry, cancellationToken);
            }
        });

    /// <summary>Takes a reason back, and makes the endpoint visible if none is left.</summary>
    /// <exception cref="WorkerLeavingException">The worker leaves.</exception>
    public Task ShowAsync(ServedEndpoint endpoint, HiddenReasons reason, CancellationToken cancellationToken) =>
        AppearAsync(
            async token =>
            {
                var entry = Find(endpoint);
                if (entry is null)
                {
                    _endpoints.Add(entry = new RegisteredEndpoint(endpoint));
                }

                entry.Hidden &= ~reason;
                if (entry.Hidden == HiddenReasons.None)
                {
                    await BindAsync(entry, token);
                    await PublishAsync(entry, token);
                    foreach (var record in RecordsOf(endpoint))
                    {
                        await PublishAsync(record, token);
                    }
                }
            },
            cancellationToken
        );

    /// <summary>Takes one endpoint out of the store for good.</summary>
    public Task WithdrawAsync(ServedEndpoint endpoint, CancellationToken cancellationToken) =>
        InTurnAsync(async () =>
        {
            if (Find(endpoint) is { } entry)
            {
                await UnpublishAsync(entry, cancellationToken);
            }
        });

    /// <summary>The worker leaves: makes every endpoint invisible, and before that what is seen with one.</summary>
    /// <remarks>Goes on after a failure: the rest must still be withdrawn.</remarks>
    public async Task WithdrawAllAsync(CancellationToken cancellationToken)
    {
        await Background.CancelAsync(_leaving);
        await InTurnAsync(async () =>
        {
            foreach (var (name, record) in _records.Where(record => record.Value.Endpoint is not null))
            {
                await WithdrawAsync(name, () => UnpublishAsync(record, cancellationToken));
            }

            foreach (var entry in _endpoints)
            {
                await WithdrawAsync(entry.Endpoint.Id.ToString(), () => UnpublishAsync(entry, cancellationToken));
            }
        });
    }

    /// <summary>Refuses later requests for every endpoint.</summary>
    public Task CloseIntakeAsync() =>
        InTurnAsync(async () =>
        {
            foreach (var entry in _endpoints)
            {
                await _requests.UnbindAsync(entry.Endpoint, Instance);
            }
        });

    /// <summary>The worker leaves: removes everything that is left in the
    /// store. Tried once: a store that was away then lets it expire.</summary>
    public async Task LeaveAsync(CancellationToken cancellationToken)
    {
        if (_hasLeft)
        {
            return;
        }

        _hasLeft = true;
        await Background.CancelAsync(_leaving);
        await InTurnAsync(() => _discovery.LeaveAsync(cancellationToken));
    }

    public async ValueTask DisposeAsync()
    {
        _discovery.IdentityChanged -= OnIdentityChanged;
        await _discovery.DisposeAsync();
        _turn.Dispose();
        _leaving.Dispose();
    }

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
        AppearAsync(
            async token =>
            {
                _records[name] = record;
                if (record.Endpoint is null || Find(record.Endpoint) is { Hidden: HiddenReasons.None })
                {
                    await PublishAsync(record, token);
                }
            },
            cancellationToken
        );

    private IEnumerable<KeptRecord> RecordsOf(ServedEndpoint endpoint) =>
        _records.Values.Where(record => record.Endpoint == endpoint && record.IsWanted);

    private async Task PublishAsync(KeptRecord record, CancellationToken cancellationToken)
    {
        record.IsPublished = true;
        await _discovery.RegisterAsync(record.For(Instance), cancellationToken);
    }

    private async Task UnpublishAsync(KeptRecord record, CancellationToken cancellationToken)
    {
        if (record.IsPublished)
        {
            await _discovery.UnregisterAsync(record.For(Instance), cancellationToken);
            record.IsPublished = false;
        }
    }

    private RegisteredEndpoint? Find(ServedEndpoint endpoint) => _endpoints.Find(entry => entry.Endpoint == endpoint);

    private async Task BindAsync(RegisteredEndpoint entry, CancellationToken cancellationToken) =>
        entry.Address = await _requests.BindAsync(entry.Endpoint, Instance, cancellationToken);

    private async Task PublishAsync(RegisteredEndpoint entry, CancellationToken cancellationToken)
    {
        entry.IsPublished = true;
        await _discovery.RegisterAsync(RecordOf(entry), cancellationToken);
        LogServing(_logger, entry.Endpoint.Id.ToString(), entry.Address!.Value);
    }

    private async Task UnpublishAsync(RegisteredEndpoint entry, CancellationToken cancellationToken)
    {
        if (entry.IsPublished)
        {
            // Remembered only once it is true: a store that was away must be asked again.
            await _discovery.UnregisterAsync(RecordOf(entry), cancellationToken);
            entry.IsPublished = false;
        }
    }

    private DiscoveryRecord RecordOf(RegisteredEndpoint entry) =>
        DiscoveryRecord.Endpoint(entry.Endpoint.Id, Instance, entry.Address!, _deviceType, _codec);

    private void OnIdentityChanged(InstanceId instance) => _ = MoveAsync(instance);

    private async Task MoveAsync(InstanceId instance)
    {
        try
        {
            await InTurnAsync(async () =>
            {
                if (IsLeaving)
                {
                    return;
                }

                LogMoving(_logger, Instance.Hex, instance.Hex);
                Instance = instance;
                var visible = _endpoints.Where(entry => entry.IsPublished).ToList();
                foreach (var entry in visible)
                {
                    // First, since records may name the addresses of endpoints.
                    await BindAgainAsync(entry, instance);
                }

                foreach (var name in _records.Where(record => !record.Value.IsWanted).Select(record => record.Key).ToList())
                {
                    _records.Remove(name);
                }

                foreach (var record in _records.Values.Where(record => record.Endpoint is null))
                {
                    await MoveOneAsync(instance, () => PublishAsync(record, _leaving.Token));
                }

                foreach (var entry in visible)
                {
                    await MoveOneAsync(instance, () => PublishAsync(entry, _leaving.Token));
                }

                foreach (var record in _records.Values.Where(record => record.Endpoint is not null))
                {
                    // What was in the store went with the old identity; what is hidden stays so.
                    record.IsPublished = false;
                    if (visible.Exists(entry => entry.Endpoint == record.Endpoint))
                    {
                        await MoveOneAsync(instance, () => PublishAsync(record, _leaving.Token));
                    }
                }

                // Routes of the old identity stay: callers that still hold its address are served until they have seen the new one.
            });
        }
        catch (Exception exception) when (exception is ObjectDisposedException || IsLeaving)
        {
            // The worker stops.
        }
        catch (Exception exception)
        {
            // Loop supervision (style E3): nobody awaits this, so it must not end in silence.
            LogCannotMove(_logger, instance.Hex, exception);
        }
    }

    /// <summary>
    /// The outage that cost the lease may have taken the request plane, too:
    /// tried until it works, since without it the worker stays invisible.
    /// </summary>
    private async Task BindAgainAsync(RegisteredEndpoint entry, InstanceId instance)
    {
        while (!IsLeaving)
        {
            try
            {
                using var late = new CancellationTokenSource(BindTimeLimit, _time);
                using var limit = CancellationTokenSource.CreateLinkedTokenSource(_leaving.Token, late.Token);
                await BindAsync(entry, limit.Token);
                return;
            }
            catch (Exception exception) when (exception is not ObjectDisposedException && !IsLeaving)
            {
                // Loop supervision (style E3): whatever a request plane throws, giving up would leave the worker invisible for good.
                LogCannotMove(_logger, instance.Hex, exception);
                await Task.Delay(BindRetryWait, _time, _leaving.Token)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
            }
        }
    }

    private async Task MoveOneAsync(InstanceId instance, Func<Task> move)
    {
        try
        {
            _leaving.Token.ThrowIfCancellationRequested();
            await move();
        }
        catch (Exception exception) when (!IsLeaving)
        {
            // Loop supervision (style E3): the others must be moved all the same. The store tries a record again that it could not write.
            LogCannotMove(_logger, instance.Hex, exception);
        }
    }

    /// <summary>A change that makes something appear: not begun, and cut short, once the worker leaves.</summary>
    private Task AppearAsync(Func<CancellationToken, Task> change, CancellationToken cancellationToken) =>
        InTurnAsync(async () =>
        {
            if (IsLeaving)
            {
                throw new WorkerLeavingException();
            }

            using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _leaving.Token);
            try
            {
                await change(either.Token);
            }
            catch (OperationCanceledException) when (IsLeaving)
            {
                throw new WorkerLeavingException();
            }
        });

    private async Task InTurnAsync(Func<Task> change)
    {
        await _turn.WaitAsync();
        try
        {
            await change();
        }
        finally
        {
            _turn.Release();
        }
    }

    [LoggerMessage(EventId = 2101, Level = LogLevel.Information, Message = "Serving {Endpoint} at {Address}")]
    private static partial void LogServing(ILogger logger, string endpoint, string address);

    [LoggerMessage(EventId = 2102, Level = LogLevel.Warning, Message = "Cannot withdraw {Endpoint} from discovery; its record will expire")]
    private static partial void LogCannotWithdraw(ILogger logger, string endpoint, Exception exception);

    [LoggerMessage(
        EventId = 2103,
        Level = LogLevel.Warning,
        Message = "Discovery lost instance {Previous}; registering everything again as {Next}"
    )]
    private static partial void LogMoving(ILogger logger, string previous, string next);

    [LoggerMessage(EventId = 2104, Level = LogLevel.Error, Message = "Cannot register again as {Instance}")]
    private static partial void LogCannotMove(ILogger logger, string instance, Exception exception);
}
