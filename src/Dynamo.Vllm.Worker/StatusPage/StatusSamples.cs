using System.Collections.Immutable;
using Dynamo.Vllm.Worker.StatusPort;

namespace Dynamo.Vllm.Worker.StatusPage;

/// <summary>The last ten minutes, from looks at the metrics page as a scrape
/// takes them: a busy interpreter makes one older, not late.</summary>
internal sealed class StatusSamples
{
    /// <summary>With <see cref="Interval"/>: ten minutes.</summary>
    public const int Max = 120;

    public static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);

    private readonly MetricsPage _page;
    private readonly TimeProvider _time;
    private ImmutableList<StatusSample> _all = [];

    public StatusSamples(MetricsPage page, TimeProvider time)
    {
        _page = page;
        _time = time;
    }

    /// <summary>The newest last.</summary>
    public IReadOnlyList<StatusSample> All => Volatile.Read(ref _all);

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(Interval, _time);
        var last = await ReadAsync(cancellationToken).ConfigureAwait(false);
        while (await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false))
        {
            var reading = await ReadAsync(cancellationToken).ConfigureAwait(false);
            var all = _all.Count < Max ? _all : _all.RemoveAt(0);
            Volatile.Write(ref _all, all.Add(reading.Since(last, _time.GetUtcNow(), _time)));
            last = reading;
        }
    }

    private async Task<MetricsReading> ReadAsync(CancellationToken cancellationToken) =>
        MetricsReading.Parse(await _page.RenderAsync(cancellationToken).ConfigureAwait(false), _time.GetTimestamp());
}
