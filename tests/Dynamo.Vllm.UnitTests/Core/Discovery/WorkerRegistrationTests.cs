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
    private readonly ServedEndpoint _generate;

    public WorkerRegistrationTests()
    {
        _registration = new WorkerRegistration(
            _store,
            new RequestPlaneFake(),
            "cpu",
            PayloadCodec.MessagePack,
            TimeProvider.System,
            NullLogger<WorkerRegistration>.Instance,
            new InstanceId(1)
        );
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
    public async Task What_is_put_and_hidden_is_so_under_every_identity_of_the_process()
    {
        var other = new RecordingDiscovery();
        _registration.Add(
            new WorkerRegistration(
                other,
                new RequestPlaneFake(),
                "cpu",
                PayloadCodec.MessagePack,
                TimeProvider.System,
                NullLogger<WorkerRegistration>.Instance,
                new InstanceId(9)
            )
        );
        await _registration.PutAsync("model", instance => DiscoveryRecord.Model(_generate.Id, instance, new JsonObject()), default);
        await _registration.ServeAsync(_generate, default);
        Assert.Equal(2, other.Records.Count);
        Assert.Contains(other.Records.Keys, key => key.EndsWith("/9", StringComparison.Ordinal));
        Assert.DoesNotContain(_store.Records.Keys, key => key.EndsWith("/9", StringComparison.Ordinal));
        await _registration.HideAsync(_generate, HiddenReasons.EngineSuspect, default);
        Assert.Single(other.Records);
        await _registration.ShowAsync(_generate, HiddenReasons.EngineSuspect, default);
        other.Lose(new InstanceId(10)); // a lease that one loses is no matter of the others
        Assert.Contains("v1/instances/n/c/generate/a", other.Records.Keys);
        await _registration.WithdrawAllAsync(default);
        Assert.DoesNotContain("v1/instances/n/c/generate/a", other.Records.Keys);
        await _registration.LeaveAsync(default);
        await _registration.DisposeAsync();
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

    [Fact]
    public async Task What_belongs_to_an_endpoint_goes_before_it_and_comes_back_after_it()
    {
        await _registration.PutAsync("model", Card, default);
        await _registration.PutWithAsync(_generate, "model/early", Adapter("early"), default);
        Assert.Single(_store.Records); // the endpoint is not there yet
        await _registration.ServeAsync(_generate, default);
        await _registration.PutWithAsync(_generate, "model/a", Adapter("a"), default);
        Assert.Equal(4, _store.Records.Count);
        _store.Steps.Clear();
        await _registration.HideAsync(_generate, HiddenReasons.Asleep, default);
        await _registration.PutWithAsync(_generate, "model/b", Adapter("b"), default); // loaded while the engine sleeps
        await _registration.RemoveAsync("model/early", default);
        await _registration.ShowAsync(_generate, HiddenReasons.Asleep, default);
        Assert.Equal(
            [
                "-v1/mdc/n/c/generate/1/early",
                "-v1/mdc/n/c/generate/1/a",
                "-v1/instances/n/c/generate/1",
                "+v1/instances/n/c/generate/1",
                "+v1/mdc/n/c/generate/1/a",
                "+v1/mdc/n/c/generate/1/b",
            ],
            _store.Steps
        );
        _store.Steps.Clear();
        await _registration.WithdrawAllAsync(default);
        Assert.Equal(["-v1/mdc/n/c/generate/1/a", "-v1/mdc/n/c/generate/1/b", "-v1/instances/n/c/generate/1"], _store.Steps);
        await Assert.ThrowsAsync<WorkerLeavingException>(() => _registration.PutWithAsync(_generate, "model/c", Adapter("c"), default));
        Assert.Single(_store.Records);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_new_identity_brings_back_what_was_seen_and_nothing_that_was_removed(bool isVisible)
    {
        await _registration.ServeAsync(_generate, default);
        await _registration.PutWithAsync(_generate, "model/a", Adapter("a"), default);
        await _registration.PutWithAsync(_generate, "model/gone", Adapter("gone"), default);
        _store.BeforeRemoval = _ => Task.FromException(new IOException("the store is away"));
        await Assert.ThrowsAsync<IOException>(() => _registration.RemoveAsync("model/gone", default));
        _store.BeforeRemoval = null;
        if (!isVisible)
        {
            await _registration.HideAsync(_generate, HiddenReasons.Asleep, default);
        }

        _store.Records.Clear();
        _store.Lose(new InstanceId(2));
        await _registration.RemoveAsync("nothing", default); // takes its turn after the move
        Assert.Equal(
            isVisible ? ["v1/instances/n/c/generate/2", "v1/mdc/n/c/generate/2/a"] : [],
            _store.Records.Keys.Order(StringComparer.Ordinal)
        );
    }

    [Fact]
    public async Task A_removal_that_the_store_did_not_hear_is_told_to_it_the_next_time()
    {
        await _registration.PutAsync("model", Card, default);
        _store.BeforeRemoval = _ => Task.FromException(new IOException("the store is away"));
        await Assert.ThrowsAsync<IOException>(() => _registration.RemoveAsync("model", default));
        _store.BeforeRemoval = null;
        await _registration.RemoveAsync("model", default);
        Assert.Empty(_store.Records);
    }

    private static Func<InstanceId, DiscoveryRecord> Adapter(string slug) =>
        instance => DiscoveryRecord.Model(new EndpointId("n", "c", "generate"), instance, new JsonObject(), slug);

    private static DiscoveryRecord Card(InstanceId instance) =>
        DiscoveryRecord.Model(new EndpointId("n", "c", "generate"), instance, new JsonObject());

    private static ServedEndpoint Endpoint(string name) => Endpoints.Create(name: name);

    private static DiscoveryRecord Card() =>
        DiscoveryRecord.Model(new EndpointId("n", "c", "generate"), new InstanceId(1), new JsonObject());
}
