using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Testing.Relay;
using Microsoft.Extensions.Logging.Abstractions;

namespace Dynamo.Vllm.UnitTests.Core.Discovery;

public sealed class WorkerRegistrationTests
{
    private readonly RecordingDiscovery _store = new();
    private readonly WorkerRegistration _registration;
    private readonly RuntimeMetrics _metrics = new(Prometheus.Metrics.NewCustomRegistry(), "1");
    private readonly ServedEndpoint _generate;

    public WorkerRegistrationTests()
    {
        _registration = new WorkerRegistration(
            _store, new RequestPlaneFake(), "cpu", PayloadCodec.MessagePack, NullLogger<WorkerRegistration>.Instance, new InstanceId(1));
        _generate = Endpoint("generate");
    }

    [Fact]
    public async Task An_endpoint_is_visible_only_while_no_reason_hides_it()
    {
        await _registration.ServeAsync(_generate, default);
        await _registration.HideAsync(_generate, HiddenReasons.Asleep, default);
        await _registration.HideAsync(_generate, HiddenReasons.EngineSuspect, default);
        Assert.Empty(_store.Records);
        await _registration.ShowAsync(_generate, HiddenReasons.Asleep, default);
        Assert.Empty(_store.Records);
        await _registration.ShowAsync(_generate, HiddenReasons.EngineSuspect, default);
        Assert.Single(_store.Records);
    }

    [Fact]
    public async Task Leaving_is_a_one_way_door()
    {
        await _registration.ServeAsync(_generate, default);
        await _registration.HideAsync(_generate, HiddenReasons.Asleep, default);
        await _registration.WithdrawAllAsync(default);
        await Assert.ThrowsAsync<WorkerLeavingException>(() => _registration.ShowAsync(_generate, HiddenReasons.Asleep, default));
        await Assert.ThrowsAsync<WorkerLeavingException>(() => _registration.ServeAsync(Endpoint("other"), default));
        await Assert.ThrowsAsync<WorkerLeavingException>(() => _registration.PutAsync("model", _ => Card(), default));
        _store.Lose(new InstanceId(2));
        Assert.Empty(_store.Records);
        Assert.Equal(1, _store.Steps.Count(step => step[0] == '+'));
    }

    [Fact]
    public async Task A_registration_that_hangs_gives_way_to_the_one_who_leaves_and_is_withdrawn()
    {
        _store.BeforeRegistration = token => Task.Delay(Timeout.Infinite, token);
        var serving = _registration.ServeAsync(_generate, default);
        await _registration.WithdrawAllAsync(default).WaitAsync(TimeSpan.FromSeconds(30));
        await Assert.ThrowsAsync<WorkerLeavingException>(() => serving);
        // The write was cut short and may have arrived all the same.
        Assert.Contains(_store.Steps, step => step[0] == '-');
    }

    private ServedEndpoint Endpoint(string name)
    {
        var id = new EndpointId("n", "c", name);
        return new ServedEndpoint(id, new NoHandler(), _metrics.ForEndpoint(id, "m"));
    }

    private static DiscoveryRecord Card() => DiscoveryRecord.Model(new EndpointId("n", "c", "generate"), new InstanceId(1), new JsonObject());

    private sealed class NoHandler : IEndpointHandler
    {
        public Task HandleAsync(RequestContext context, IResponseWriter responses) => Task.CompletedTask;
    }
}
