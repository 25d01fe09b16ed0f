using Dynamo.Vllm.Core.Requests;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>The <c>get_perf_metrics</c> endpoint. This worker has no self-benchmark, and says so in the reference's words.</summary>
public sealed class PerfMetricsHandler : IEndpointHandler
{
    public async Task HandleAsync(RequestContext context, IResponseWriter responses) =>
        await responses.WriteAsync("""{"status":"error","message":"no benchmark data"}"""u8.ToArray());
}
