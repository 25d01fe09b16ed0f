using System.Collections.Immutable;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>The endpoints of this worker, and their books. Filled by one stage; scrapes read it at any time.</summary>
internal sealed partial class ServedEndpoints
{
    private readonly TimeProvider _time;
    private readonly ILogger<ServedEndpoints> _logger;
    private ImmutableList<ServedEndpoint> _all = [];

    public ServedEndpoints(MetricsPage metrics, TimeProvider time, ILogger<ServedEndpoints> logger)
    {
        _time = time;
        _logger = logger;
        _ = new LedgerMetrics(metrics.Worker, () => _all);
    }

    public IReadOnlyList<ServedEndpoint> All => _all;

    /// <summary>Requests that were accepted and have not ended.</summary>
    public int Running => _all.Sum(endpoint => endpoint.Ledger.Open);

    public void Add(ServedEndpoint endpoint) => _all = _all.Add(endpoint);

    /// <summary>Waits until nothing runs, or until the limit.</summary>
    public async Task WhenIdleAsync(TimeSpan limit) =>
        await Task.WhenAny(Task.WhenAll(_all.Select(endpoint => endpoint.Ledger.WhenIdle())), Task.Delay(limit, _time))
            .ConfigureAwait(false);

    /// <summary>Ends whatever runs, with the error that lets its caller migrate it.</summary>
    public void Abort()
    {
        foreach (var endpoint in _all)
        {
            endpoint.CancelAll(CancellationCause.Shutdown);
        }
    }

    /// <summary>Once nothing can change them any more: the books, a line each.</summary>
    public void LogBooks()
    {
        foreach (var endpoint in _all)
        {
            LogLedger(_logger, endpoint.Id.Name, endpoint.Ledger.Read());
        }
    }

    [LoggerMessage(EventId = 5021, Level = LogLevel.Information, Message = "Requests to {Endpoint}: {Balance}")]
    private static partial void LogLedger(ILogger logger, string endpoint, LedgerBalance balance);
}
