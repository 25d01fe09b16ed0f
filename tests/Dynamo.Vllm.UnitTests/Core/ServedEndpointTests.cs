using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Prometheus;

namespace Dynamo.Vllm.UnitTests.Core;

public sealed class ServedEndpointTests
{
    private readonly ServedEndpoint _endpoint = new(
        new EndpointId("n", "c", "e"),
        new PerfMetricsStub(),
        new RuntimeMetrics(Prometheus.Metrics.NewCustomRegistry(), "1").ForEndpoint(new EndpointId("n", "c", "e"), "m")
    );

    [Fact]
    public async Task A_request_counts_from_its_acceptance_to_its_end()
    {
        _endpoint.Ledger.Accept();
        Assert.Equal(1, _endpoint.Ledger.Open);
        var idle = _endpoint.Ledger.WhenIdle();
        var context = Context();
        _endpoint.Enter(context);
        _endpoint.Leave(context);
        Assert.False(idle.IsCompleted);
        _endpoint.Ledger.End(RequestEnd.Finished);
        await idle.WaitAsync(TimeSpan.FromSeconds(10));
        Assert.Equal(0, _endpoint.Ledger.Open);
    }

    [Fact]
    public void What_was_accepted_and_begins_after_all_were_cancelled_is_cancelled_too()
    {
        _endpoint.Ledger.Accept();
        _endpoint.CancelAll(CancellationCause.Shutdown);
        var context = Context();
        _endpoint.Enter(context);
        Assert.Equal(CancellationCause.Shutdown, context.Cause);
        Assert.True(context.Cancelled.IsCancellationRequested);
    }

    private static RequestContext Context() => new("r", PayloadCodec.Json, default, new Dictionary<string, string>());

    private sealed class PerfMetricsStub : IEndpointHandler
    {
        public Task HandleAsync(RequestContext context, IResponseWriter responses) => Task.CompletedTask;
    }
}
