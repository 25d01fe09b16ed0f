using Dynamo.Vllm.Core.Requests;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>The <c>get_perf_metrics</c> endpoint: what the engine measured of itself before it served.</summary>
public sealed class PerfMetricsHandler : IEndpointHandler
{
    private readonly ReadOnlyMemory<byte> _answer;

    /// <param name="results">As JSON; null if nothing was measured.</param>
    public PerfMetricsHandler(ReadOnlyMemory<byte>? results) =>
        _answer = results ?? """{"status":"error","message":"no benchmark data"}"""u8.ToArray();

    public async Task HandleAsync(RequestContext context, IResponseWriter responses) => await responses.WriteAsync(_answer);
}
