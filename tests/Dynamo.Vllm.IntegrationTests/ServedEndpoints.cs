using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;

namespace Dynamo.Vllm.IntegrationTests;

/// <summary>Endpoints whose handler says what it was asked and answers with one item.</summary>
internal sealed class ServedEndpoints : IEndpointHandler
{
    private readonly Action<RequestContext> _seen;

    private ServedEndpoints(Action<RequestContext> seen) => _seen = seen;

    public static ServedEndpoint Create(EndpointId id, Action<RequestContext>? seen = null) =>
        Create(id, new ServedEndpoints(seen ?? (_ => { })));

    public static ServedEndpoint Create(EndpointId id, IEndpointHandler handler)
    {
        var metrics = new RuntimeMetrics(Prometheus.Metrics.NewCustomRegistry(), "1");
        return new ServedEndpoint(id, handler, metrics.ForEndpoint(id, "tiny"));
    }

    public async Task HandleAsync(RequestContext context, IResponseWriter responses)
    {
        _seen(context);
        await responses.WriteAsync("{\"token_ids\":[5]}"u8.ToArray());
    }
}
