using System.Text;
using Dynamo.Vllm.Core.Health;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Worker.Hosting;
using Prometheus;

namespace Dynamo.Vllm.Worker.StatusPort;

/// <summary>The text of <c>/metrics</c>, from whatever parts are up. Never waits
/// for the interpreter longer than <see cref="EngineMetricsText"/> does.</summary>
internal sealed class MetricsPage
{
    private readonly HealthState _health;

    public MetricsPage(HealthState health) => _health = health;

    /// <summary>Series of Dynamo's runtime.</summary>
    public CollectorRegistry Runtime { get; } = Metrics.NewCustomRegistry();

    /// <summary>Series of this worker.</summary>
    public CollectorRegistry Worker { get; } = Metrics.NewCustomRegistry();

    /// <summary>Set once the worker has an identity, which labels them.</summary>
    public RuntimeMetrics? RuntimeMetrics { get; set; }

    /// <summary>Set once there is an engine.</summary>
    public EngineMetricsText? Engine { get; set; }

    public async Task<string> RenderAsync(CancellationToken cancellationToken)
    {
        RuntimeMetrics?.Uptime.Set(_health.Uptime.TotalSeconds);
        using var buffer = new MemoryStream();
        await Runtime.CollectAndExportAsTextAsync(buffer, cancellationToken).ConfigureAwait(false);
        await Worker.CollectAndExportAsTextAsync(buffer, cancellationToken).ConfigureAwait(false);
        var text = MetricLabels.WithoutEmptyModel(Encoding.UTF8.GetString(buffer.ToArray()));
        return Engine is null ? text : text + await Engine.GetAsync(cancellationToken).ConfigureAwait(false);
    }
}
