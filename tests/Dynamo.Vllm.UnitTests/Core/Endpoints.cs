using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;

namespace Dynamo.Vllm.UnitTests.Core;

/// <summary>Endpoints <c>n/c/...</c> for tests that look at something else than what they answer.</summary>
internal static class Endpoints
{
    /// <param name="handler">Null: one that answers nothing.</param>
    /// <param name="name">Of the endpoint.</param>
    public static ServedEndpoint Create(IEndpointHandler? handler = null, string name = "generate") =>
        Create(new EndpointId("n", "c", name), handler);

    public static ServedEndpoint Create(EndpointId id, IEndpointHandler? handler = null)
    {
        var metrics = new RuntimeMetrics(Prometheus.Metrics.NewCustomRegistry(), "1");
        return new ServedEndpoint(id, handler ?? new SilentHandler(), metrics.ForEndpoint(id, "m"));
    }

    public static DispatcherMetrics DispatcherMetrics() => new RuntimeMetrics(Prometheus.Metrics.NewCustomRegistry(), "1").Dispatcher;

    private sealed class SilentHandler : IEndpointHandler
    {
        public Task HandleAsync(RequestContext context, IResponseWriter responses) => Task.CompletedTask;
    }
}
