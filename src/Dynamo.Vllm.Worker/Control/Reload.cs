using System.Threading.Channels;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Worker.Hosting;
using Dynamo.Vllm.Worker.Stages;

namespace Dynamo.Vllm.Worker.Control;

/// <summary>Drains and stays: out of discovery until what runs has ended, then back with everything as it was.</summary>
/// <remarks>
/// 1. hide every endpoint; 2. grace period, requests that still arrive are served; 3. wait for what runs, at most the drain budget: what
/// takes longer goes on, nothing is aborted; 4. show again. One loop; a stop ends it at any point, since leaving passes hidden endpoints.
/// </remarks>
internal sealed partial class Reload
{
    private static readonly TimeSpan StoreLimit = TimeSpan.FromSeconds(5);

    private readonly WorkerSettings _settings;
    private readonly PlanesStage _planes;
    private readonly RegistrationStage _registration;
    private readonly ServedEndpoints _endpoints;
    private readonly TimeProvider _time;
    private readonly ILogger<Reload> _logger;

    // One that comes while another waits is the same wish.
    private readonly Channel<bool> _asked = Channel.CreateBounded<bool>(
        new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite }
    );

    public Reload(
        WorkerSettings settings,
        PlanesStage planes,
        RegistrationStage registration,
        ServedEndpoints endpoints,
        TimeProvider time,
        ILogger<Reload> logger
    )
    {
        _settings = settings;
        _planes = planes;
        _registration = registration;
        _endpoints = endpoints;
        _time = time;
        _logger = logger;
    }

    /// <summary>Before one begins (true) and after it has ended (false).</summary>
    public event Action<bool>? Changed;

    /// <summary>Never waits. Before the worker serves there is nothing to reload, and it is done once it does.</summary>
    public void Ask() => _asked.Writer.TryWrite(true);

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        while (await _asked.Reader.WaitToReadAsync(cancellationToken).ConfigureAwait(false))
        {
            _asked.Reader.TryRead(out _);
            Changed?.Invoke(true);
            await DrainAsync(cancellationToken).ConfigureAwait(false);
            await ReturnAsync(cancellationToken).ConfigureAwait(false);
            Changed?.Invoke(false);
        }
    }

    private async Task DrainAsync(CancellationToken cancellationToken)
    {
        LogReloading(_logger, _endpoints.Running, _registration.DrainLimit.TotalSeconds);
        foreach (var endpoint in _endpoints.All)
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            limit.CancelAfter(StoreLimit);
            await TryAsync(() => _planes.Registration.HideAsync(endpoint, HiddenReasons.Reloading, limit.Token), cancellationToken)
                .ConfigureAwait(false);
        }

        await Task.Delay(_settings.Runtime.Shutdown.GracePeriod, _time, cancellationToken).ConfigureAwait(false);
        await _endpoints.WhenIdleAsync(_registration.DrainLimit).WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    private async Task ReturnAsync(CancellationToken cancellationToken)
    {
        foreach (var endpoint in _endpoints.All)
        {
            await TryAsync(() => _planes.Registration.ShowAsync(endpoint, HiddenReasons.Reloading, cancellationToken), cancellationToken)
                .ConfigureAwait(false);
        }

        LogReloaded(_logger, _endpoints.Running);
    }

    /// <summary>A store that is away must not keep the others from being shown: what could not be written is tried again by it.</summary>
    private async Task TryAsync(Func<Task> change, CancellationToken cancellationToken)
    {
        try
        {
            await change().ConfigureAwait(false);
        }
        catch (WorkerLeavingException)
        {
            // It stays away.
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            // Loop supervision (style E3): a reload that ended here would leave the worker invisible for good.
            LogCannotTellDiscovery(_logger, exception);
        }
    }

    [LoggerMessage(
        EventId = 5111,
        Level = LogLevel.Information,
        Message = "Reloading: out of discovery, {Running} requests may finish, for {Seconds} s at most"
    )]
    private static partial void LogReloading(ILogger logger, int running, double seconds);

    [LoggerMessage(EventId = 5112, Level = LogLevel.Information, Message = "Reloaded: back in discovery, {Running} requests still run")]
    private static partial void LogReloaded(ILogger logger, int running);

    [LoggerMessage(EventId = 5113, Level = LogLevel.Warning, Message = "Discovery cannot be told about the reload")]
    private static partial void LogCannotTellDiscovery(ILogger logger, Exception exception);
}
