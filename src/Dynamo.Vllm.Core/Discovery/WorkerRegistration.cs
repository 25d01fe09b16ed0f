using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.Discovery;

/// <summary>Everything that this worker has in the discovery store, and the order in which it appears and goes.</summary>
/// <remarks>
/// The only caller of <see cref="IDiscovery"/>. Records are kept as functions of the identity, so that a lost lease ends in the same records
/// under the new one. All changes run one after the other. Thread-safe.
/// </remarks>
public sealed partial class WorkerRegistration : IAsyncDisposable
{
    private static readonly TimeSpan BindTimeLimit = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan BindRetryWait = TimeSpan.FromSeconds(1);

    private readonly IDiscovery _discovery;
    private readonly IRequestPlane _requests;
    private readonly string _deviceType;
    private readonly PayloadCodec _codec;
    private readonly ILogger<WorkerRegistration> _logger;
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly List<ServedEndpoint> _endpoints = [];
    private readonly HashSet<ServedEndpoint> _withdrawn = [];
    private readonly Dictionary<ServedEndpoint, TransportAddress> _addresses = [];
    private readonly Dictionary<string, Func<InstanceId, DiscoveryRecord>> _records = [];
    private bool _isLeaving;

    /// <param name="discovery">Owned from here on.</param>
    /// <param name="requests">Where endpoints take their requests.</param>
    /// <param name="deviceType">For the endpoint records: <c>cpu</c> or <c>cuda</c>.</param>
    /// <param name="codec">Codec that the endpoint records advertise.</param>
    /// <param name="logger">Log.</param>
    /// <param name="joined">The identity, if <paramref name="discovery"/> has one already; else call <see cref="JoinAsync"/>.</param>
    public WorkerRegistration(
        IDiscovery discovery, IRequestPlane requests, string deviceType, PayloadCodec codec, ILogger<WorkerRegistration> logger, InstanceId joined = default)
    {
        _discovery = discovery;
        Instance = joined;
        _requests = requests;
        _deviceType = deviceType;
        _codec = codec;
        _logger = logger;
        _discovery.IdentityChanged += OnIdentityChanged;
    }

    /// <summary>The identity now; a lost lease changes it.</summary>
    public InstanceId Instance { get; private set; }

    public async Task JoinAsync(CancellationToken cancellationToken) => Instance = await _discovery.JoinAsync(cancellationToken).ConfigureAwait(false);

    /// <summary>Puts or replaces a record of any kind under a name of the caller's.</summary>
    public Task PutAsync(string name, Func<InstanceId, DiscoveryRecord> record, CancellationToken cancellationToken) => InTurnAsync(async () =>
    {
        _records[name] = record;
        await _discovery.RegisterAsync(record(Instance), cancellationToken).ConfigureAwait(false);
    });

    /// <summary>Removes a record that was put under the name.</summary>
    public Task RemoveAsync(string name, CancellationToken cancellationToken) => InTurnAsync(async () =>
    {
        if (_records.Remove(name, out var record))
        {
            await _discovery.UnregisterAsync(record(Instance), cancellationToken).ConfigureAwait(false);
        }
    });

    /// <summary>Values of the records that any process has in the bucket under the prefix, at this moment.</summary>
    public async Task<IReadOnlyList<JsonObject>> ListAsync(string bucket, string keyPrefix, CancellationToken cancellationToken)
    {
        IReadOnlyList<JsonObject> found = [];
        await InTurnAsync(async () =>
            found = await _discovery.ListAsync(bucket, keyPrefix, cancellationToken).ConfigureAwait(false)).ConfigureAwait(false);
        return found;
    }

    /// <summary>Takes requests for the endpoint, then makes it visible: the listener is up before the record appears.</summary>
    public Task ServeAsync(ServedEndpoint endpoint, CancellationToken cancellationToken) => InTurnAsync(async () =>
    {
        if (!_endpoints.Contains(endpoint))
        {
            _endpoints.Add(endpoint);
        }

        _withdrawn.Remove(endpoint);
        await BindAsync(endpoint, cancellationToken).ConfigureAwait(false);
        await PublishAsync(endpoint, cancellationToken).ConfigureAwait(false);
    });

    /// <summary>Value of a served endpoint's record under the current identity. Only for records that are put here: it is called in turn.</summary>
    public JsonObject EndpointValue(ServedEndpoint endpoint) => RecordOf(endpoint, _addresses[endpoint]).Value;

    /// <summary>Makes the endpoint invisible; requests that still arrive are served.</summary>
    public Task WithdrawAsync(ServedEndpoint endpoint, CancellationToken cancellationToken) => InTurnAsync(async () =>
    {
        if (!_withdrawn.Contains(endpoint))
        {
            // Remembered only once it is true: a store that was away must be asked again.
            await _discovery.UnregisterAsync(RecordOf(endpoint, new TransportAddress("tcp", "")), cancellationToken).ConfigureAwait(false);
            _withdrawn.Add(endpoint);
        }
    });

    /// <summary>Makes every endpoint invisible. Goes on after a failure: the rest must still be withdrawn.</summary>
    public async Task WithdrawAllAsync(CancellationToken cancellationToken)
    {
        _isLeaving = true;
        foreach (var endpoint in _endpoints.ToArray())
        {
            try
            {
                await WithdrawAsync(endpoint, cancellationToken).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is not OutOfMemoryException)
            {
                // Best-effort cleanup (style E3): an unreachable store must not keep the worker from draining.
                LogCannotWithdraw(_logger, endpoint.Id.ToString(), exception);
            }
        }
    }

    /// <summary>Refuses later requests for every endpoint.</summary>
    public async Task CloseIntakeAsync()
    {
        foreach (var endpoint in _endpoints.ToArray())
        {
            await _requests.UnbindAsync(endpoint, Instance).ConfigureAwait(false);
        }
    }

    /// <summary>Removes everything that is left in the store.</summary>
    public Task LeaveAsync(CancellationToken cancellationToken)
    {
        _isLeaving = true;
        return InTurnAsync(() => _discovery.LeaveAsync(cancellationToken));
    }

    public async ValueTask DisposeAsync()
    {
        _discovery.IdentityChanged -= OnIdentityChanged;
        await _discovery.DisposeAsync().ConfigureAwait(false);
        _turn.Dispose();
    }

    private async Task BindAsync(ServedEndpoint endpoint, CancellationToken cancellationToken) =>
        _addresses[endpoint] = await _requests.BindAsync(endpoint, Instance, cancellationToken).ConfigureAwait(false);

    private async Task PublishAsync(ServedEndpoint endpoint, CancellationToken cancellationToken)
    {
        var address = _addresses[endpoint];
        await _discovery.RegisterAsync(RecordOf(endpoint, address), cancellationToken).ConfigureAwait(false);
        LogServing(_logger, endpoint.Id.ToString(), address.Value);
    }

    private DiscoveryRecord RecordOf(ServedEndpoint endpoint, TransportAddress address) =>
        DiscoveryRecord.Endpoint(endpoint.Id, Instance, address, _deviceType, _codec);

    private void OnIdentityChanged(InstanceId instance) => _ = MoveAsync(instance);

    private async Task MoveAsync(InstanceId instance)
    {
        try
        {
            await InTurnAsync(async () =>
            {
                if (_isLeaving)
                {
                    return;
                }

                LogMoving(_logger, Instance.Hex, instance.Hex);
                Instance = instance;
                var visible = _endpoints.Where(endpoint => !_withdrawn.Contains(endpoint)).ToList();
                foreach (var endpoint in visible)
                {
                    // First, since records may name the addresses of endpoints.
                    await BindAgainAsync(endpoint, instance).ConfigureAwait(false);
                }

                foreach (var record in _records.Values)
                {
                    await MoveOneAsync(instance, () => _discovery.RegisterAsync(record(instance), CancellationToken.None)).ConfigureAwait(false);
                }

                foreach (var endpoint in visible)
                {
                    await MoveOneAsync(instance, () => PublishAsync(endpoint, CancellationToken.None)).ConfigureAwait(false);
                }

                // Routes of the old identity stay: callers that still hold its address are served until they have seen the new one.
            }).ConfigureAwait(false);
        }
        catch (ObjectDisposedException)
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
    /// The outage that cost the lease may have taken the request plane, too: tried until it works, since without it the worker stays invisible.
    /// </summary>
    private async Task BindAgainAsync(ServedEndpoint endpoint, InstanceId instance)
    {
        while (!_isLeaving)
        {
            try
            {
                using var limit = new CancellationTokenSource(BindTimeLimit);
                await BindAsync(endpoint, limit.Token).ConfigureAwait(false);
                return;
            }
            catch (Exception exception) when (exception is not ObjectDisposedException)
            {
                // Loop supervision (style E3): whatever a request plane throws, giving up would leave the worker invisible for good.
                LogCannotMove(_logger, instance.Hex, exception);
                await Task.Delay(BindRetryWait).ConfigureAwait(false);
            }
        }
    }

    private async Task MoveOneAsync(InstanceId instance, Func<Task> move)
    {
        try
        {
            await move().ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            // Loop supervision (style E3): the others must be moved all the same. The store tries a record again that it could not write.
            LogCannotMove(_logger, instance.Hex, exception);
        }
    }

    private async Task InTurnAsync(Func<Task> change)
    {
        await _turn.WaitAsync().ConfigureAwait(false);
        try
        {
            await change().ConfigureAwait(false);
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

    [LoggerMessage(EventId = 2103, Level = LogLevel.Warning, Message = "Discovery lost instance {Previous}; registering everything again as {Next}")]
    private static partial void LogMoving(ILogger logger, string previous, string next);

    [LoggerMessage(EventId = 2104, Level = LogLevel.Error, Message = "Cannot register again as {Instance}")]
    private static partial void LogCannotMove(ILogger logger, string instance, Exception exception);
}
