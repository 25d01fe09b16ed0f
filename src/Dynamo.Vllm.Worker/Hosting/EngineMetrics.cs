using Dynamo.Vllm.Engine;
using Prometheus;

namespace Dynamo.Vllm.Worker.Hosting;

/// <summary>Which way requests took to the engine: what an operator looks at when a request costs more than another.</summary>
internal static class EngineMetrics
{
    public static void AddTo(CollectorRegistry registry, VllmEngine engine)
    {
        var requests = Metrics
            .WithCustomRegistry(registry)
            .CreateCounter(
                "dynamo_vllm_engine_requests_total",
                "Requests given to the engine: to its process itself (direct), or through the interpreter",
                "way"
            );
        registry.AddBeforeCollectCallback(() =>
        {
            requests.WithLabels("direct").IncTo(engine.DirectRequests);
            requests.WithLabels("interpreter").IncTo(engine.InterpreterRequests);
        });
    }
}
