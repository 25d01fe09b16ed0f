using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.Testing.Servers;
using Dynamo.Vllm.Transports.Nats;
using NATS.NKeys;

namespace Dynamo.Vllm.IntegrationTests.Nats;

/// <summary>Every way to log in, and what a refusal says.</summary>
public sealed class NatsLoginTests
{
    private readonly LogCapture _log = new();

    [ServerFact(ServerPrograms.Nats)]
    public async Task The_default_login_is_the_reference_s()
    {
        await using var server = await NatsServer.StartAsync("authorization { user: user, password: user }");
        await using var link = await ConnectAsync(new NatsOptions { Server = server.Url });
        Assert.True(link.IsConnected);
    }

    [ServerFact(ServerPrograms.Nats)]
    public async Task A_wrong_password_ends_the_start_at_once_and_is_not_shown()
    {
        await using var server = await NatsServer.StartAsync("authorization { user: worker, password: secret }");
        var login = new NatsLogin(NatsLoginKind.UserAndPassword, "worker", "guess");
        var exception = await Assert.ThrowsAsync<InvalidOperationException>(() =>
            ConnectAsync(new NatsOptions { Server = server.Url, Login = login })
        );
        Assert.StartsWith($"NATS at {server.Url} refused the login by UserAndPassword", exception.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("guess", exception + _log.Text, StringComparison.Ordinal);
        await using var link = await ConnectAsync(new NatsOptions { Server = server.Url, Login = login with { Password = "secret" } });
        Assert.True(link.IsConnected);
    }

    [ServerFact(ServerPrograms.Nats)]
    public async Task A_token_is_accepted()
    {
        await using var server = await NatsServer.StartAsync("authorization { token: sesame }");
        await using var link = await ConnectAsync(
            new NatsOptions { Server = server.Url, Login = new NatsLogin(NatsLoginKind.Token, "sesame") }
        );
        Assert.True(link.IsConnected);
    }

    [ServerFact(ServerPrograms.Nats)]
    public async Task A_seed_signs_the_challenge_of_the_server()
    {
        using var pair = KeyPair.CreatePair(PrefixByte.User);
        await using var server = await NatsServer.StartAsync($"authorization {{ users: [ {{ nkey: {pair.GetPublicKey()} }} ] }}");
        await using var link = await ConnectAsync(
            new NatsOptions { Server = server.Url, Login = new NatsLogin(NatsLoginKind.NKey, pair.GetSeed()) }
        );
        Assert.True(link.IsConnected);
        var exception = await Assert.ThrowsAsync<InvalidOperationException>(() =>
            ConnectAsync(new NatsOptions { Server = server.Url, Login = new NatsLogin(NatsLoginKind.NKey, "SUSPICIOUS") })
        );
        Assert.Equal("NATS_AUTH_NKEY is no seed (SU...)", exception.Message);
    }

    [ServerFact(ServerPrograms.Nats)]
    public async Task A_credentials_file_of_an_operator_s_account_is_accepted()
    {
        using var folder = new TemporaryFolder();
        using var signer = KeyPair.CreatePair(PrefixByte.Operator);
        using var account = KeyPair.CreatePair(PrefixByte.Account);
        using var user = KeyPair.CreatePair(PrefixByte.User);
        var limits = new JsonObject
        {
            ["subs"] = -1,
            ["data"] = -1,
            ["payload"] = -1,
            ["conn"] = -1,
            ["leaf"] = -1,
            ["imports"] = -1,
            ["exports"] = -1,
            ["wildcards"] = true,
        };
        var operatorToken = Token(signer, signer, "operator", []);
        var accountToken = Token(signer, account, "account", new JsonObject { ["limits"] = limits });
        var userToken = Token(
            account,
            user,
            "user",
            new JsonObject
            {
                ["subs"] = -1,
                ["data"] = -1,
                ["payload"] = -1,
            }
        );
        await using var server = await NatsServer.StartAsync(
            $"operator: {operatorToken}\nresolver: MEMORY\nresolver_preload: {{ {account.GetPublicKey()}: {accountToken} }}"
        );
        var path = folder.Write(
            "user.creds",
            $"-----BEGIN NATS USER JWT-----\n{userToken}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY "
                + $"SEED-----\n{user.GetSeed()}\n------END USER NKEY SEED------\n"
        );
        await using var link = await ConnectAsync(
            new NatsOptions { Server = server.Url, Login = new NatsLogin(NatsLoginKind.CredentialsFile, path) }
        );
        Assert.True(link.IsConnected);
        var exception = await Assert.ThrowsAsync<InvalidOperationException>(() =>
            ConnectAsync(new NatsOptions { Server = server.Url, Login = new NatsLogin(NatsLoginKind.CredentialsFile, "/nowhere") })
        );
        Assert.Equal("NATS_AUTH_CREDENTIALS_FILE=/nowhere does not exist", exception.Message);
    }

    [ServerFact(ServerPrograms.Nats)]
    public async Task Tls_with_client_certificates_works_and_strangers_are_refused_on_both_sides()
    {
        using var folder = new TemporaryFolder();
        using var certificates = new TestCertificates();
        using var others = new TestCertificates("others");
        var pair = certificates.Issue("nats");
        var client = certificates.Issue("worker");
        var configuration =
            $"tls {{ cert_file: \"{folder.Write("s.pem", pair.Certificate)}\", key_file: \"{folder.Write("s.key", pair.Key)}\", "
            + $"ca_file: \"{folder.Write("ca.pem", certificates.Authority)}\", verify: true }}";
        await using var server = await NatsServer.StartAsync(configuration, secure: true);
        var options = new NatsOptions
        {
            Server = server.Url,
            AuthorityPath = folder.Write("ca2.pem", certificates.Authority),
            ClientCertificatePath = folder.Write("c.pem", client.Certificate),
            ClientKeyPath = folder.Write("c.key", client.Key),
            StartupTimeLimit = TimeSpan.FromSeconds(1),
        };
        await using var link = await ConnectAsync(options);
        Assert.True(link.IsConnected);
        var exception = await Assert.ThrowsAsync<InvalidOperationException>(() =>
            ConnectAsync(options with { AuthorityPath = others.Authority })
        );
        Assert.Contains("check NATS_TLS_CA_CERT_PATH", exception.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<InvalidOperationException>(() =>
            ConnectAsync(options with { ClientCertificatePath = null, ClientKeyPath = null })
        );
        await using var trusting = await ConnectAsync(options with { AuthorityPath = null, Insecure = true });
        Assert.True(trusting.IsConnected);
    }

    [ServerFact(ServerPrograms.Nats)]
    public async Task Start_waits_for_a_server_that_comes_late_and_gives_up_after_the_limit()
    {
        await using var server = await NatsServer.StartAsync();
        await server.Process.KillAsync();
        var waiting = _log.Next(3502, TimeSpan.FromSeconds(10));
        var connecting = ConnectAsync(new NatsOptions { Server = server.Url });
        Assert.Contains("cannot be reached yet", (await waiting).Text, StringComparison.Ordinal);
        await server.StartAgainAsync();
        await using var link = await connecting.WaitAsync(TimeSpan.FromSeconds(10));
        var exception = await Assert.ThrowsAsync<InvalidOperationException>(() =>
            ConnectAsync(new NatsOptions { Server = "nats://127.0.0.1:1", StartupTimeLimit = TimeSpan.FromSeconds(1) })
        );
        Assert.StartsWith("NATS at nats://127.0.0.1:1 could not be reached within 1 s", exception.Message, StringComparison.Ordinal);
    }

    private static string Token(KeyPair issuer, KeyPair subject, string type, JsonObject details)
    {
        static string Part(byte[] bytes) => Convert.ToBase64String(bytes).TrimEnd('=').Replace('+', '-').Replace('/', '_');
        details["type"] = type;
        details["version"] = 2;
        var claims = new JsonObject
        {
            ["jti"] = Guid.NewGuid().ToString("N"),
            ["iat"] = DateTimeOffset.UtcNow.ToUnixTimeSeconds(),
            ["iss"] = issuer.GetPublicKey(),
            ["name"] = type,
            ["sub"] = subject.GetPublicKey(),
            ["nats"] = details,
        };
        var text =
            Part("{\"typ\":\"JWT\",\"alg\":\"ed25519-nkey\"}"u8.ToArray()) + "." + Part(Encoding.UTF8.GetBytes(claims.ToJsonString()));
        var signature = new byte[64];
        issuer.Sign(Encoding.ASCII.GetBytes(text), signature);
        return $"{text}.{Part(signature)}";
    }

    private async Task<NatsLink> ConnectAsync(NatsOptions options)
    {
        var link = new NatsLink(options, TimeProvider.System, _log.For<NatsLink>());
        await link.ConnectAsync(default);
        return link;
    }
}
