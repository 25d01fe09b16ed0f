using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Metrics;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>The engine's Prometheus text with our labels, from a snapshot that never keeps a scrape waiting.</summary>
/// <remarks>
/// Each scrape asks the interpreter for a fresh text and takes what is there after a short wait: a busy interpreter makes the numbers older, not the
/// scrape slower. At most one question is under way.
/// </remarks>
internal sealed class EngineMetricsText
{
    /// <summary>Below the 100 ms in which the status server has to answer.</summary>
    private static readonly TimeSpan WaitLimit = TimeSpan.FromMilliseconds(60);

    private static readonly string[] Prefixes = ["vllm:", "lmcache:"];

    private readonly IEngine _engine;
    private readonly KeyValuePair<string, string>[] _labels;
    private readonly Lock _lock = new();
    private Task _refresh = Task.CompletedTask;
    private volatile string _text = "";

    public EngineMetricsText(IEngine engine, IEnumerable<KeyValuePair<string, string>> labels)
    {
        _engine = engine;
        _labels = [.. labels];
    }

    public async Task<string> GetAsync(CancellationToken cancellationToken)
    {
        Task refresh;
        lock (_lock)
        {
            if (_refresh.IsCompleted)
            {
                _refresh = RefreshAsync();
            }

            refresh = _refresh;
        }

        await Task.WhenAny(refresh, Task.Delay(WaitLimit, cancellationToken)).ConfigureAwait(false);
        return _text;
    }

    private async Task RefreshAsync()
    {
        try
        {
            var text = await _engine.CallAsync("metrics", null, CancellationToken.None).ConfigureAwait(false);
            _text = MetricLabels.Inject(text.GetString() ?? "", Prefixes, _labels);
        }
        catch (EngineCallException)
        {
            // Best-effort (style E3): the last text stays; a dead engine is reported by its monitor.
        }
    }
}
