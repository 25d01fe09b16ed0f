using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.Testing.Network;
using Dynamo.Vllm.Testing.Relay;
using Dynamo.Vllm.Testing.Servers;
using Dynamo.Vllm.Transports.Etcd;

namespace Dynamo.Vllm.IntegrationTests.Etcd;

/// <summary>A worker's records in a real etcd, through the faults that an operator meets.</summary>
public sealed class EtcdDiscoveryTests
{
    private const int Waiting = 3406;
    private const int MemberLeft = 3401;
    private const int Overdue = 3403;
    private const int Survived = 3404;
    private const int Repaired = 3413;

    private static readonly TimeSpan Soon = TimeSpan.FromSeconds(20);
    private static readonly EndpointId Generate = new("p1ns", "backend", "generate");

    private readonly LogCapture _log = new();

    [ServerFact(ServerPrograms.Etcd)]
    public async Task Records_lie_under_the_captured_keys_on_the_lease_that_is_the_identity()
    {
        await using var etcd = await EtcdServer.StartAsync();
        await using var discovery = Create(etcd.Url);
        var instance = await discovery.JoinAsync(default);
        await discovery.RegisterAsync(Endpoint(instance), default);
        await discovery.RegisterAsync(DiscoveryRecord.Model(Generate, instance, new JsonObject { ["display_name"] = "tiny" }), default);

        var stored = await etcd.ReadAsync();
        Assert.Equal([$"v1/instances/p1ns/backend/generate/{instance.Hex}", $"v1/mdc/p1ns/backend/generate/{instance.Hex}"], stored.Keys);
        var golden = Golden
            .Text("runtime/etcd_instances_nats.txt")
            .Split('\n')[1]
            .Replace("1353509823228989740", $"{instance.Value}", StringComparison.Ordinal)
            .Replace("12c8a2035590d12c", instance.Hex, StringComparison.Ordinal);
        Assert.Equal(golden, stored.First().Value);
        Assert.Equal(instance.Value, await etcd.LeaseOfAsync(stored.First().Key));

        await discovery.UnregisterAsync(Endpoint(instance), default);
        await discovery.UnregisterAsync(Endpoint(instance), default);
        Assert.Equal([$"v1/mdc/p1ns/backend/generate/{instance.Hex}"], (await etcd.ReadAsync()).Keys);
        await discovery.LeaveAsync(default);
        Assert.Empty(await etcd.ReadAsync());
    }

    [ServerFact(ServerPrograms.Etcd)]
    public async Task An_own_record_is_replaced_also_when_somebody_else_has_changed_it()
    {
        await using var etcd = await EtcdServer.StartAsync();
        await using var discovery = Create(etcd.Url);
        var instance = await discovery.JoinAsync(default);
        DiscoveryRecord Card(params string[] taints) =>
            DiscoveryRecord.Model(
                Generate,
                instance,
                new JsonObject
                {
                    ["runtime_config"] = new JsonObject { ["taints"] = new JsonArray([.. taints.Select(taint => (JsonNode)taint)]) },
                }
            );
        await discovery.RegisterAsync(Card(), default);
        await etcd.CallAsync(
            "kv/put",
            new JsonObject { ["key"] = Convert.ToBase64String(System.Text.Encoding.UTF8.GetBytes(Card().FullKey)), ["value"] = "eA==" }
        );
        await discovery.RegisterAsync(Card("draining"), default);
        Assert.Equal(Card("draining").Value.ToJsonString(), (await etcd.ReadAsync())[Card().FullKey]);
        Assert.Equal(instance.Value, await etcd.LeaseOfAsync(Card().FullKey));
    }

    [ServerFact(ServerPrograms.Etcd)]
    public async Task Records_of_others_are_listed_and_those_that_are_no_json_passed_over()
    {
        const string prefix = "namespace/p1ns/component/zmq_broker/";
        await using var etcd = await EtcdServer.StartAsync();
        await using var broker = Create(etcd.Url);
        await broker.JoinAsync(default);
        await using var discovery = Create(etcd.Url);
        await discovery.JoinAsync(default);
        Assert.Empty(await discovery.ListAsync(DiscoveryRecord.EventChannels, prefix, default));
        const string others = "namespace/p1ns/component/zmq_brokers/topic/broker/8";
        foreach (var (key, name) in new[] { (prefix + "topic/broker/7", "wanted"), (others, "of another component") })
        {
            await broker.RegisterAsync(
                new DiscoveryRecord(DiscoveryRecord.EventChannels, key, new JsonObject { ["topic"] = name }),
                default
            );
        }

        await etcd.CallAsync(
            "kv/put",
            new JsonObject
            {
                ["key"] = Convert.ToBase64String(
                    System.Text.Encoding.UTF8.GetBytes($"{DiscoveryRecord.EventChannels}/{prefix}topic/broker/9")
                ),
                ["value"] = "eA==",
            }
        );
        Assert.Equal("wanted", (string?)Assert.Single(await discovery.ListAsync(DiscoveryRecord.EventChannels, prefix, default))["topic"]);
        await broker.LeaveAsync(default);
        Assert.Empty(await discovery.ListAsync(DiscoveryRecord.EventChannels, prefix, default));
    }

    [ServerFact(ServerPrograms.Etcd)]
    public async Task A_record_that_somebody_removes_is_written_again_and_one_of_ours_that_we_withdrew_is_not()
    {
        await using var etcd = await EtcdServer.StartAsync();
        await using var discovery = Create(etcd.Url, lifetime: 2);
        var instance = await discovery.JoinAsync(default);
        var withdrawn = DiscoveryRecord.Model(Generate, instance, new JsonObject { ["display_name"] = "tiny" });
        await discovery.RegisterAsync(Endpoint(instance), default);
        await discovery.RegisterAsync(withdrawn, default);
        await discovery.UnregisterAsync(withdrawn, default);
        var restored = _log.Next(3416, Soon);
        await etcd.CallAsync(
            "kv/deleterange",
            new JsonObject { ["key"] = Convert.ToBase64String(System.Text.Encoding.UTF8.GetBytes(Endpoint(instance).FullKey)) }
        );
        await restored;
        await Polling.UntilAsync("the record is not back", Soon, async () => (await etcd.ReadAsync()).Count == 1);
        Assert.Equal([Endpoint(instance).FullKey], (await etcd.ReadAsync()).Keys);
        Assert.Equal(instance.Value, await etcd.LeaseOfAsync(Endpoint(instance).FullKey));
        await discovery.LeaveAsync(default);
        Assert.Empty(await etcd.ReadAsync());
    }

    [ServerFact(ServerPrograms.Etcd)]
    public async Task A_lease_revoked_from_outside_ends_in_the_same_records_under_a_new_identity()
    {
        await using var etcd = await EtcdServer.StartAsync();
        var discovery = Create(etcd.Url, lifetime: 2);
        await using var registration = Register(discovery);
        await registration.JoinAsync(default);
        var before = registration.Instance;
        await registration.PutAsync(
            "card",
            instance => DiscoveryRecord.Model(Generate, instance, new JsonObject { ["display_name"] = "tiny" }),
            default
        );
        await registration.ServeAsync(ServedEndpoints.Create(Generate), default);
        var moved = _log.Next(2101, Soon); // serving again, the last step of the move

        await etcd.RevokeAsync(before.Value);
        await moved;
        Assert.NotEqual(before, registration.Instance);
        Assert.Equal(
            [
                $"v1/instances/p1ns/backend/generate/{registration.Instance.Hex}",
                $"v1/mdc/p1ns/backend/generate/{registration.Instance.Hex}",
            ],
            (await etcd.ReadAsync()).Keys
        );

        // A record of the identity that has ended is not written again.
        await discovery.RegisterAsync(Endpoint(before), default);
        Assert.Equal(2, (await etcd.ReadAsync()).Count);
        await registration.LeaveAsync(default);
        Assert.Empty(await etcd.ReadAsync());
    }

    [ServerFact(ServerPrograms.Etcd)]
    public async Task A_frozen_member_is_left_for_the_next_one_and_the_lease_lives()
    {
        await using var etcd = await EtcdServer.StartAsync();
        await using var first = FaultProxy.Start(new Uri(etcd.Url).Port);
        await using var discovery = Create($"http://127.0.0.1:{first.Port}", etcd.Url, lifetime: 6);
        var changed = false;
        discovery.IdentityChanged += _ => changed = true;
        var instance = await discovery.JoinAsync(default);
        await discovery.RegisterAsync(Endpoint(instance), default);
        var left = _log.Next(MemberLeft, Soon);

        first.Freeze();
        await left;
        await discovery.RegisterAsync(DiscoveryRecord.Model(Generate, instance, []), default);
        Assert.Equal(2, (await etcd.ReadAsync()).Count);
        Assert.False(changed);
    }

    [ServerTheory(ServerPrograms.Etcd)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_cluster_that_loses_the_member_in_use_keeps_identity_and_records(bool frozen)
    {
        var members = await EtcdServer.StartClusterAsync();
        try
        {
            await using var discovery = Create(
                new EtcdOptions
                {
                    Endpoints = [.. members.Select(member => member.Url)],
                    LeaseLifetime = TimeSpan.FromSeconds(8),
                    PingInterval = TimeSpan.FromSeconds(1),
                    PingTimeLimit = TimeSpan.FromSeconds(1),
                    CallTimeLimit = TimeSpan.FromSeconds(1),
                    RetryWaitMax = TimeSpan.FromSeconds(3),
                }
            );
            InstanceId? changed = null;
            discovery.IdentityChanged += id => changed = id;
            var instance = await discovery.JoinAsync(default);
            await discovery.RegisterAsync(Endpoint(instance), default);
            var left = _log.Next(MemberLeft, Soon);
            if (frozen)
            {
                members[0].Process.Freeze();
            }
            else
            {
                await members[0].Process.KillAsync();
            }

            await left;
            await discovery.RegisterAsync(DiscoveryRecord.Model(Generate, instance, []), default);
            Assert.Equal(2, (await members[1].ReadAsync()).Count);
            Assert.Null(changed);
        }
        finally
        {
            foreach (var member in members)
            {
                await member.DisposeAsync();
            }
        }
    }

    [ServerFact(ServerPrograms.Etcd)]
    public async Task A_server_stopped_longer_than_the_lease_lives_gets_everything_again()
    {
        await using var etcd = await EtcdServer.StartAsync();
        var discovery = Create(etcd.Url, lifetime: 2);
        await using var registration = Register(discovery);
        await registration.JoinAsync(default);
        await registration.ServeAsync(ServedEndpoints.Create(Generate), default);
        var overdue = _log.Next(Overdue, Soon);
        etcd.Process.Freeze();
        await overdue;

        // Two outcomes are right: the server remembers the lease, or it has ended it and there is a new identity.
        var survived = _log.Next(Survived, Soon);
        var moved = _log.Next(2101, Soon);
        etcd.Process.Thaw();
        await await Task.WhenAny(survived, moved);
        Assert.Equal([$"v1/instances/p1ns/backend/generate/{registration.Instance.Hex}"], (await etcd.ReadAsync()).Keys);
    }

    [ServerFact(ServerPrograms.Etcd)]
    public async Task A_server_that_is_killed_and_restarted_still_has_the_records_and_the_identity_stays()
    {
        await using var etcd = await EtcdServer.StartAsync();
        await using var discovery = Create(etcd.Url, lifetime: 3);
        InstanceId? changed = null;
        discovery.IdentityChanged += id => changed = id;
        var instance = await discovery.JoinAsync(default);
        await discovery.RegisterAsync(Endpoint(instance), default);
        var overdue = _log.Next(Overdue, Soon);
        await etcd.Process.KillAsync();
        await overdue;
        var survived = _log.Next(Survived, Soon);
        await etcd.StartAgainAsync();
        await survived;
        Assert.Null(changed);
        Assert.Equal([Endpoint(instance).FullKey], (await etcd.ReadAsync()).Keys);
    }

    [ServerTheory(ServerPrograms.Etcd)]
    [InlineData(10, false)]
    [InlineData(2, true)]
    public async Task A_server_that_comes_back_empty_soon_has_everything_again(int lifetime, bool isLate)
    {
        await using var etcd = await EtcdServer.StartAsync();
        var discovery = Create(etcd.Url, lifetime: lifetime);
        await using var registration = Register(discovery);
        await registration.JoinAsync(default);
        await registration.ServeAsync(ServedEndpoints.Create(Generate), default);
        Assert.Null(discovery.Hindrance);
        var noticed = _log.Next(isLate ? Overdue : MemberLeft, Soon);
        await etcd.Process.KillAsync();
        await noticed;
        for (var tries = 0; tries < (isLate ? 0 : 5); tries++)
        {
            await _log.Next(MemberLeft, Soon); // what the worker waits between two tries grows meanwhile
        }

        Assert.Equal(isLate, discovery.Hindrance is not null);

        var moved = _log.Next(2101, Soon);
        await etcd.StartEmptyAsync();
        var started = TimeProvider.System.GetTimestamp();
        await moved;
        Assert.InRange(TimeProvider.System.GetElapsedTime(started), TimeSpan.Zero, TimeSpan.FromSeconds(5));
        Assert.Equal([$"v1/instances/p1ns/backend/generate/{registration.Instance.Hex}"], (await etcd.ReadAsync()).Keys);
        Assert.Null(discovery.Hindrance);
    }

    [ServerFact(ServerPrograms.Etcd)]
    public async Task A_record_that_could_not_be_written_is_written_when_the_server_is_back()
    {
        await using var etcd = await EtcdServer.StartAsync();
        await using var discovery = Create(etcd.Url, lifetime: 2);
        var instance = await discovery.JoinAsync(default);
        await etcd.Process.KillAsync();
        var exception = await Assert.ThrowsAsync<IOException>(() => discovery.RegisterAsync(Endpoint(instance), default));
        Assert.Contains("etcd: cannot write v1/instances/p1ns/backend/generate/", exception.Message, StringComparison.Ordinal);
        var repaired = _log.Next(Repaired, Soon);
        await etcd.StartAgainAsync();
        await repaired;
        Assert.Equal([Endpoint(instance).FullKey], (await etcd.ReadAsync()).Keys);
    }

    [ServerFact(ServerPrograms.Etcd)]
    public async Task Start_waits_for_a_server_that_comes_late_and_says_so()
    {
        await using var etcd = await EtcdServer.StartAsync();
        await etcd.Process.TerminateAsync();
        await using var discovery = Create(etcd.Url);
        var waiting = _log.Next(Waiting, Soon);
        var joining = discovery.JoinAsync(default);
        Assert.Contains("Connection refused", (await waiting).Text, StringComparison.Ordinal);
        await etcd.StartAgainAsync();
        Assert.NotEqual(0UL, (await joining.WaitAsync(Soon)).Value);
    }

    [ServerFact(ServerPrograms.Etcd)]
    public async Task Start_fails_with_the_addresses_when_nobody_answers_in_time()
    {
        await using var discovery = new EtcdDiscovery(
            new EtcdOptions { Endpoints = ["http://127.0.0.1:1", "127.0.0.1:2"], StartupTimeLimit = TimeSpan.FromSeconds(1.5) },
            TimeProvider.System,
            _log.For<EtcdDiscovery>()
        );
        var exception = await Assert.ThrowsAsync<InvalidOperationException>(() => discovery.JoinAsync(default));
        Assert.StartsWith(
            "etcd discovery could not reach http://127.0.0.1:1, 127.0.0.1:2 within 1.5 s",
            exception.Message,
            StringComparison.Ordinal
        );
        Assert.Contains(_log.Lines, line => line.EventId == Waiting);
    }

    [ServerFact(ServerPrograms.Etcd)]
    public async Task A_wrong_password_ends_the_start_at_once_and_the_right_one_works()
    {
        await using var etcd = await EtcdServer.StartAsync();
        await etcd.RequireLoginAsync("secret");
        await using var wrong = Create(new EtcdOptions { Endpoints = [etcd.Url], Login = new EtcdLogin("root", "guess") });
        var exception = await Assert.ThrowsAsync<InvalidOperationException>(() => wrong.JoinAsync(default));
        Assert.StartsWith("etcd refused the login of 'root'", exception.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("guess", exception.ToString(), StringComparison.Ordinal);

        await using var none = Create(new EtcdOptions { Endpoints = [etcd.Url], StartupTimeLimit = TimeSpan.FromSeconds(1) });
        var anonymous = await none.JoinAsync(default); // etcd grants leases to anybody; only the first write is refused
        var refused = await Assert.ThrowsAsync<IOException>(() => none.RegisterAsync(Endpoint(anonymous), default));
        Assert.Contains("set ETCD_AUTH_USERNAME", refused.Message, StringComparison.Ordinal);

        await using var right = Create(new EtcdOptions { Endpoints = [etcd.Url], Login = new EtcdLogin("root", "secret") });
        var joined = await right.JoinAsync(default);
        await right.RegisterAsync(Endpoint(joined), default);
        await etcd.Process.KillAsync(); // its tokens are forgotten
        await etcd.StartAgainAsync();
        await right.UnregisterAsync(Endpoint(joined), default);
        await right.LeaveAsync(default);
    }

    [ServerFact(ServerPrograms.Etcd)]
    public async Task A_token_that_a_change_of_users_made_old_is_replaced_and_a_leaving_worker_leaves_nothing()
    {
        using var folder = new TemporaryFolder();
        using var key = System.Security.Cryptography.RSA.Create(2048);
        var priv = folder.Write("jwt.key", key.ExportPkcs8PrivateKeyPem());
        var pub = folder.Write("jwt.pub", key.ExportSubjectPublicKeyInfoPem());
        await using var etcd = await EtcdServer.StartAsync(
            secure: false,
            "--auth-token",
            $"jwt,pub-key={pub},priv-key={priv},sign-method=RS256,ttl=10m"
        );
        await etcd.RequireLoginAsync("secret");
        await using var discovery = Create(new EtcdOptions { Endpoints = [etcd.Url], Login = new EtcdLogin("root", "secret") });
        var joined = await discovery.JoinAsync(default);
        await discovery.RegisterAsync(Endpoint(joined), default);

        await etcd.LoginAsync("root", "secret");
        await AddUserAsync("second");
        await discovery.RegisterAsync(DiscoveryRecord.Model(Generate, joined, []), default);
        await etcd.LoginAsync("root", "secret");
        Assert.Equal(2, (await etcd.ReadAsync()).Count);

        await AddUserAsync("third");
        await discovery.LeaveAsync(default);
        await etcd.LoginAsync("root", "secret");
        Assert.Empty(await etcd.ReadAsync());

        Task AddUserAsync(string name) => etcd.CallAsync("auth/user/add", new JsonObject { ["name"] = name, ["password"] = "x" });
    }

    [ServerTheory(ServerPrograms.Etcd)]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Tls_with_a_client_certificate_works_from_files_and_from_text(bool fromFiles)
    {
        using var folder = new TemporaryFolder();
        using var certificates = new TestCertificates();
        var server = certificates.Issue("etcd");
        var client = certificates.Issue("worker");
        await using var etcd = await EtcdServer.StartAsync(
            secure: true,
            "--cert-file",
            folder.Write("server.pem", server.Certificate),
            "--key-file",
            folder.Write("server.key", server.Key),
            "--client-cert-auth",
            "--trusted-ca-file",
            folder.Write("ca.pem", certificates.Authority)
        );
        string Value(string name, string text) => fromFiles ? folder.Write(name, text) : text;
        var tls = new EtcdTls(
            Value("ca2.pem", certificates.Authority),
            Value("client.pem", client.Certificate),
            Value("client.key", client.Key)
        );
        await using var discovery = Create(new EtcdOptions { Endpoints = [etcd.Url], Tls = tls });
        await discovery.RegisterAsync(Endpoint(await discovery.JoinAsync(default)), default);

        using var others = new TestCertificates("others");
        await using var stranger = Create(
            new EtcdOptions
            {
                Endpoints = [etcd.Url],
                Tls = tls with { Authority = others.Authority },
                StartupTimeLimit = TimeSpan.FromSeconds(1),
            }
        );
        var exception = await Assert.ThrowsAsync<InvalidOperationException>(() => stranger.JoinAsync(default));
        Assert.Contains("certificate", exception.Message, StringComparison.Ordinal);
        await using var broken = Create(new EtcdOptions { Endpoints = [etcd.Url], Tls = tls with { Key = "/nowhere/key.pem" } });
        exception = await Assert.ThrowsAsync<InvalidOperationException>(() => broken.JoinAsync(default));
        Assert.Contains("ETCD_AUTH_CLIENT_KEY cannot be read", exception.Message, StringComparison.Ordinal);
    }

    [PeerFact]
    public async Task Renewed_certificates_are_used_when_the_server_comes_back_with_its_own()
    {
        using var folder = new TemporaryFolder();
        using var first = new TestCertificates("first");
        using var second = new TestCertificates("second");
        void Issue(TestCertificates authority)
        {
            foreach (var name in (string[])["server", "client"])
            {
                var (certificate, key) = authority.Issue(name);
                folder.Write($"{name}.pem", certificate);
                folder.Write($"{name}.key", key);
            }

            folder.Write("ca.pem", authority.Authority);
        }

        Issue(first);
        string In(string name) => Path.Combine(folder.Path, name);
        await using var etcd = await EtcdServer.StartAsync(
            secure: true,
            "--cert-file",
            In("server.pem"),
            "--key-file",
            In("server.key"),
            "--client-cert-auth",
            "--trusted-ca-file",
            In("ca.pem")
        );
        await using var discovery = Create(
            new EtcdOptions
            {
                Endpoints = [etcd.Url],
                Tls = new EtcdTls(In("ca.pem"), In("client.pem"), In("client.key")),
                CallTimeLimit = TimeSpan.FromSeconds(1),
                RetryWaitMax = TimeSpan.FromSeconds(3),
            }
        );
        var instance = await discovery.JoinAsync(default);
        await discovery.RegisterAsync(Endpoint(instance), default);

        await etcd.Process.KillAsync();
        Issue(second);
        await etcd.StartAgainAsync();

        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        await discovery.RegisterAsync(DiscoveryRecord.Model(Generate, instance, []), limit.Token);
        await discovery.LeaveAsync(limit.Token);
    }

    private static DiscoveryRecord Endpoint(InstanceId instance) =>
        DiscoveryRecord.Endpoint(Generate, instance, TransportAddress.Nats(instance, Generate), "cuda", PayloadCodec.MessagePack);

    private WorkerRegistration Register(EtcdDiscovery discovery) =>
        new(discovery, new RequestPlaneFake(), "cuda", PayloadCodec.MessagePack, TimeProvider.System, _log.For<WorkerRegistration>());

    private EtcdDiscovery Create(string url, string? other = null, int lifetime = 30) =>
        Create(
            new EtcdOptions
            {
                Endpoints = other is null ? [url] : [url, other],
                LeaseLifetime = TimeSpan.FromSeconds(lifetime),
                PingInterval = TimeSpan.FromSeconds(1),
                PingTimeLimit = TimeSpan.FromSeconds(1),
                CallTimeLimit = TimeSpan.FromSeconds(1),
                RetryWaitMax = TimeSpan.FromSeconds(3),
            }
        );

    private EtcdDiscovery Create(EtcdOptions options) => new(options, TimeProvider.System, _log.For<EtcdDiscovery>());
}
