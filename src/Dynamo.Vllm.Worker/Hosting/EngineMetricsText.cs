using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Metrics;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>The engine's Prometheus text with our labels, from a snapshot that never keeps a scrape waiting.</summary>
/// <remarks>
/// Each scrape asks the interpreter for a fresh text and takes what is there after a short wait: a
/// busy interpreter makes the numbers older, not the scrape slower. At most one question is under way.
/// The first text is read before the worker is ready, so that no scrape finds the series missing.
/// </remarks>
internal sealed class EngineMetricsText
{
    /// <summary>Below the 100 ms in which the status server has to answer.</summary>
    private static readonly TimeSpan WaitLimit = TimeSpan.FromMilliseconds(60);

    private static readonly TimeSpan FirstWaitLimit = TimeSpan.FromSeconds(10);

    private static readonly string[] Prefixes = ["vllm:", "lmcache:"];

    private readonly IEngineControl _engine;
    private readonly KeyValuePair<string, string>[] _labels;
    private readonly Lock _lock = new();
    private Task _refresh = Task.CompletedTask;
    private volatile string _text = "";

    public EngineMetricsText(IEngineControl engine, IEnumerable<KeyValuePair<string, string>> labels)
    {
        _engine = engine;
        _labels = [.. labels];
    }

    /// <summary>Waits for a first text, but not longer than a start may:
    /// scrapes after that wait for it as they do for later ones.</summary>
    public async Task ReadFirstAsync(CancellationToken cancellationToken) =>
        await Task.WhenAny(Refresh(), Task.Delay(FirstWaitLimit, cancellationToken)).ConfigureAwait(false);

    public async Task<string> GetAsync(CancellationToken cancellationToken)
    {
        await Task.WhenAny(Refresh(), Task.Delay(WaitLimit, cancellationToken)).ConfigureAwait(false);
        return _text;
    }

    private Task Refresh()
    {
        lock (_lock)
        {
            if (_refresh.IsCompleted)
            {
                _refresh = RefreshAsync();
            }

            return _refresh;
        }
    }

    private async Task RefreshAsync()
    {
        try
        {
            var text = await _engine.ReadMetricsAsync(CancellationToken.None).ConfigureAwait(false);
            _text = MetricLabels.Inject(text, Prefixes, _labels);
        }
        catch (EngineCallException)
        {
            // Best-effort (style E3): the last text stays; a dead engine is reported by its monitor.
        }
    }
}
