using Prometheus;

namespace Dynamo.Vllm.Core.Metrics;

/// <summary>Counters of one endpoint, under the names of the reference's runtime (runtime.md, 5).</summary>
public sealed class EndpointMetrics
{
    private readonly Counter.Child _requests;
    private readonly string[] _labels;
    private readonly RuntimeMetrics _runtime;

    internal EndpointMetrics(RuntimeMetrics runtime, string[] labels)
    {
        _runtime = runtime;
        _labels = labels;
        _requests = runtime.Requests.WithLabels(labels);
        RequestBytes = runtime.RequestBytes.WithLabels(labels);
        ResponseBytes = runtime.ResponseBytes.WithLabels(labels);
        InFlight = runtime.InFlight.WithLabels(labels);
        Duration = runtime.Duration.WithLabels(labels);
        Cancellations = runtime.Cancellations.WithLabels(labels);
    }

    public ICounter Requests => _requests;

    public ICounter RequestBytes { get; }

    public ICounter ResponseBytes { get; }

    public IGauge InFlight { get; }

    public IObserver Duration { get; }

    public ICounter Cancellations { get; }

    /// <summary>Counts an error; the series appears with the first one, as in the reference.</summary>
    public void Error(string errorType) => _runtime.Errors.WithLabels([.. _labels, errorType]).Inc();
}
