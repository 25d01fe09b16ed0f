using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.Testing.Servers;
using Dynamo.Vllm.Transports.Discovery;

namespace Dynamo.Vllm.IntegrationTests.Discovery;

using Dynamo.Vllm.Testing;

/// <summary>
/// Records as files on a real disk. The keep-alive runs every 3.3 s by the reference's own constants, so some of these take as long.
/// </summary>
public sealed class FileDiscoveryTests : IDisposable
{
    private const int Broken = 3101;
    private const int Recovered = 3102;
    private const int Restored = 3103;
    private const int Expired = 3104;
    private const int WithoutLock = 3105;

    private static readonly TimeSpan Soon = TimeSpan.FromSeconds(15);
    private static readonly EndpointId Generate = new("p1ns", "backend", "generate");

    private readonly TemporaryFolder _folder = new();
    private readonly LogCapture _log = new();

    private string Instances => Path.Combine(_folder.Path, "v1", "instances");

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Files_have_the_captured_names_and_contents_and_nothing_else_lies_there()
    {
        var golden = JsonNode.Parse(Golden.Text("runtime/file_store_contents.json"))!.AsObject();
        await using var discovery = Create();
        await discovery.JoinAsync(default);
        foreach (var (name, content) in golden)
        {
            var separator = name.LastIndexOf('/');
            var key = Uri.UnescapeDataString(name[(separator + 1)..]);
            await discovery.RegisterAsync(new DiscoveryRecord(name[..separator], key, content!.DeepClone().AsObject()), default);
        }

        var files = Directory
            .GetFiles(_folder.Path, "*", SearchOption.AllDirectories)
            .Select(path => Path.GetRelativePath(_folder.Path, path));
        Assert.Equal(golden.Select(pair => pair.Key).Order(StringComparer.Ordinal), files.Order(StringComparer.Ordinal));
        foreach (var (name, content) in golden)
        {
            Assert.True(JsonNode.DeepEquals(content, JsonNode.Parse(await File.ReadAllTextAsync(Path.Combine(_folder.Path, name)))));
        }

        await discovery.LeaveAsync(default);
        Assert.Empty(Directory.GetFiles(_folder.Path, "*", SearchOption.AllDirectories));
    }

    [Fact]
    public async Task Records_of_others_are_listed_without_those_that_are_old_or_no_json()
    {
        const string prefix = "namespace/p1ns/component/zmq_broker/";
        await using var discovery = Create();
        await discovery.JoinAsync(default);
        Assert.Empty(await discovery.ListAsync(DiscoveryRecord.EventChannels, prefix, default));
        var folder = Directory.CreateDirectory(Path.Combine(_folder.Path, DiscoveryRecord.EventChannels)).FullName;
        string Write(string key, string content)
        {
            var path = Path.Combine(folder, key.StartsWith('.') ? key : FileNames.Escape(key));
            File.WriteAllText(path, content);
            return path;
        }

        Write(prefix + "topic/broker/7", """{"topic":"wanted"}""");
        Write("namespace/p1ns/component/zmq_brokers/topic/broker/8", """{"topic":"of another component"}""");
        Write(prefix + "topic/broker/9", "no json");
        Write(prefix + "topic/broker/a", "[1]");
        Write(".tmp_0123456789abcdef", """{"topic":"not yet there"}""");
        var old = Write(prefix + "topic/broker/b", """{"topic":"of a process that is gone"}""");
        File.SetLastWriteTimeUtc(old, DateTime.UtcNow.AddSeconds(-11));
        Assert.Equal("wanted", (string?)Assert.Single(await discovery.ListAsync(DiscoveryRecord.EventChannels, prefix, default))["topic"]);
    }

    [Fact]
    public async Task A_record_that_somebody_removed_and_a_store_that_disappeared_come_back()
    {
        await using var discovery = Create();
        var instance = await discovery.JoinAsync(default);
        await discovery.RegisterAsync(Record(instance), default);
        var restored = _log.Next(Restored, Soon);
        File.Delete(Directory.GetFiles(Instances).Single());
        await restored;
        await UntilAsync(() => Directory.GetFiles(Instances, "p1ns*").Length == 1);

        restored = _log.Next(Restored, Soon);
        Directory.Delete(_folder.Path, recursive: true);
        await restored;
        await UntilAsync(() => Directory.Exists(Instances) && Directory.GetFiles(Instances, "p1ns*").Length == 1);
    }

    [Fact]
    public async Task One_broken_record_does_not_keep_the_others_from_being_kept_alive()
    {
        await using var discovery = Create();
        var instance = await discovery.JoinAsync(default);
        var cards = Path.Combine(_folder.Path, "v1", "mdc");
        await discovery.RegisterAsync(DiscoveryRecord.Model(Generate, instance, []), default);
        await discovery.RegisterAsync(Record(instance), default);
        var broken = _log.Next(Broken, Soon);
        var before = DateTime.UtcNow.AddSeconds(-8);
        var other = Directory.GetFiles(Instances).Single();
        File.SetLastWriteTimeUtc(other, before);
        Directory.Delete(cards, recursive: true);
        await File.WriteAllTextAsync(cards, "a file where the folder should be");
        await broken;
        await UntilAsync(() => File.GetLastWriteTimeUtc(other) > before.AddSeconds(1));
        var recovered = _log.Next(Recovered, Soon);
        File.Delete(cards);
        await recovered;
        Assert.Single(Directory.GetFiles(cards));
    }

    [Fact]
    public async Task A_change_that_fails_leaves_no_trace()
    {
        await using var discovery = Create();
        var instance = await discovery.JoinAsync(default);
        await discovery.RegisterAsync(Record(instance), default);
        var path = Directory.GetFiles(Instances).Single();
        await discovery.UnregisterAsync(Record(instance), default);
        Directory.CreateDirectory(Path.Combine(path, "in the way"));
        await Assert.ThrowsAnyAsync<Exception>(() => discovery.RegisterAsync(Record(instance), default));
        Assert.Empty(Directory.GetFiles(Instances));
        Directory.Delete(path, recursive: true);
        await discovery.RegisterAsync(Record(instance), default);
        Assert.Single(Directory.GetFiles(Instances));
    }

    [Fact]
    public async Task A_peer_that_never_gives_back_the_lock_delays_a_change_by_a_second_only()
    {
        await using var discovery = Create();
        var instance = await discovery.JoinAsync(default);
        Directory.CreateDirectory(Instances);
        using (await FileLock.TryTakeAsync(Instances, default))
        {
            var told = _log.Next(WithoutLock, Soon);
            await discovery.RegisterAsync(Record(instance), default).WaitAsync(Soon);
            await told;
            Assert.Single(Directory.GetFiles(Instances));
        }
    }

    [Fact]
    public async Task Many_workers_at_once_write_and_remove_their_records_without_harm()
    {
        var workers = Enumerable.Range(0, 8).Select(_ => Create()).ToArray();
        var all = await Task.WhenAll(
            workers.Select(async worker =>
            {
                var instance = await worker.JoinAsync(default);
                for (var number = 0; number < 10; number++)
                {
                    await worker.RegisterAsync(Record(instance, $"endpoint-{number}"), default);
                }

                return instance;
            })
        );
        Assert.Equal(80, Directory.GetFiles(Instances).Length);
        Assert.Equal(8, all.Distinct().Count());
        await Task.WhenAll(workers.Select(worker => worker.LeaveAsync(default)));
        Assert.Empty(Directory.GetFiles(Instances));
        await Task.WhenAll(workers.Select(worker => worker.DisposeAsync().AsTask()));
    }

    [Fact]
    public async Task Records_and_remains_of_a_dead_worker_are_removed_and_own_ones_are_not()
    {
        await using var discovery = Create();
        var instance = await discovery.JoinAsync(default);
        await discovery.RegisterAsync(Record(instance), default);
        foreach (var name in new[] { "p1ns%2Fbackend%2Fgenerate%2Fdead", ".tmp_0123456789abcdef" })
        {
            var path = Path.Combine(Instances, name);
            await File.WriteAllTextAsync(path, "{}");
            File.SetLastWriteTimeUtc(path, DateTime.UtcNow.AddSeconds(-30));
        }

        await _log.Next(Expired, Soon);
        await UntilAsync(() => Directory.GetFiles(Instances).Length == 1);
        Assert.Contains(instance.Hex, Directory.GetFiles(Instances).Single(), StringComparison.Ordinal);
    }

    private static DiscoveryRecord Record(InstanceId instance, string endpoint = "generate")
    {
        var id = Generate with { Name = endpoint };
        return DiscoveryRecord.Endpoint(id, instance, TransportAddress.Tcp("127.0.0.1:1", instance, id), "cuda", PayloadCodec.MessagePack);
    }

    /// <summary>For what another process would see; there is no event for it.</summary>
    private static async Task UntilAsync(Func<bool> condition)
    {
        using var limit = new CancellationTokenSource(Soon);
        while (!condition())
        {
            await Task.Delay(20, limit.Token);
        }
    }

    private FileDiscovery Create() => new(_folder.Path, TimeProvider.System, _log.For<FileDiscovery>());
}
