using Dynamo.Vllm.Protocol.Discovery;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.Discovery;

/// <summary>Brings everything of the worker under another identity, after the store has ended the former one.</summary>
internal sealed partial class IdentityMove
{
    private static readonly TimeSpan BindTimeLimit = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan BindRetryWait = TimeSpan.FromSeconds(1);

    private readonly RegisteredRecords _records;
    private readonly OneWayDoor _door;
    private readonly Func<RegisteredEndpoint, CancellationToken, Task> _publishEndpoint;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;

    public IdentityMove(
        RegisteredRecords records,
        OneWayDoor door,
        Func<RegisteredEndpoint, CancellationToken, Task> publishEndpoint,
        TimeProvider time,
        ILogger logger
    )
    {
        _records = records;
        _door = door;
        _publishEndpoint = publishEndpoint;
        _time = time;
        _logger = logger;
    }

    /// <summary>Ends without an exception: nobody awaits it.</summary>
    public async Task ToAsync(InstanceId instance)
    {
        try
        {
            await _door.InTurnAsync(() => _door.IsLeaving ? Task.CompletedTask : MoveAsync(instance));
        }
        catch (Exception exception) when (exception is ObjectDisposedException || _door.IsLeaving)
        {
            // The worker stops.
        }
        catch (Exception exception)
        {
            // Loop supervision (style E3): nobody awaits this, so it must not end in silence.
            LogCannotMove(_logger, instance.Hex, exception);
        }
    }

    /// <remarks>Routes of the old identity stay: callers that still hold its address are served until they have seen the new one.</remarks>
    private async Task MoveAsync(InstanceId instance)
    {
        LogMoving(_logger, _records.Instance.Hex, instance.Hex);
        _records.Instance = instance;
        var visible = _records.Endpoints.Where(entry => entry.IsPublished).ToList();
        foreach (var entry in visible)
        {
            // First, since records may name the addresses of endpoints.
            await BindAgainAsync(entry, instance);
        }

        _records.ForgetUnwanted();
        foreach (var record in _records.Records.Values.Where(record => record.Endpoint is null))
        {
            await MoveOneAsync(instance, () => _records.PublishAsync(record, _door.Leaving));
        }

        foreach (var entry in visible)
        {
            await MoveOneAsync(instance, () => _publishEndpoint(entry, _door.Leaving));
        }

        foreach (var record in _records.Records.Values.Where(record => record.Endpoint is not null))
        {
            // What was in the store went with the old identity; what is hidden stays so.
            record.IsPublished = false;
            if (visible.Exists(entry => entry.Endpoint == record.Endpoint))
            {
                await MoveOneAsync(instance, () => _records.PublishAsync(record, _door.Leaving));
            }
        }
    }

    /// <summary>
    /// The outage that cost the lease may have taken the request plane, too:
    /// tried until it works, since without it the worker stays invisible.
    /// </summary>
    private async Task BindAgainAsync(RegisteredEndpoint entry, InstanceId instance)
    {
        while (!_door.IsLeaving)
        {
            try
            {
                using var late = new CancellationTokenSource(BindTimeLimit, _time);
                using var limit = CancellationTokenSource.CreateLinkedTokenSource(_door.Leaving, late.Token);
                await _records.BindAsync(entry, limit.Token);
                return;
            }
            catch (Exception exception) when (exception is not ObjectDisposedException && !_door.IsLeaving)
            {
                // Loop supervision (style E3): whatever a request plane throws, giving up would leave the worker invisible for good.
                LogCannotMove(_logger, instance.Hex, exception);
                await Task.Delay(BindRetryWait, _time, _door.Leaving)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
            }
        }
    }

    private async Task MoveOneAsync(InstanceId instance, Func<Task> move)
    {
        try
        {
            _door.Leaving.ThrowIfCancellationRequested();
            await move();
        }
        catch (Exception exception) when (!_door.IsLeaving)
        {
            // Loop supervision (style E3): the others must be moved all the same. The store tries a record again that it could not write.
            LogCannotMove(_logger, instance.Hex, exception);
        }
    }

    [LoggerMessage(
        EventId = 2103,
        Level = LogLevel.Warning,
        Message = "Discovery lost instance {Previous}; registering everything again as {Next}"
    )]
    private static partial void LogMoving(ILogger logger, string previous, string next);

    [LoggerMessage(EventId = 2104, Level = LogLevel.Error, Message = "Cannot register again as {Instance}")]
    private static partial void LogCannotMove(ILogger logger, string instance, Exception exception);
}
