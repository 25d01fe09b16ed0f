using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.Testing.Network;
using Dynamo.Vllm.Testing.Servers;
using Dynamo.Vllm.Transports.Tcp;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.IntegrationTests.Tcp;

using Dynamo.Vllm.Testing;

/// <summary>Handshakes over real sockets, accepted and refused.</summary>
public sealed class TlsConnectionsTests : IDisposable
{
    private readonly LogCapture _log = new();
    private readonly TemporaryFolder _folder = new();
    private readonly TestCertificates _authority = new();
    private readonly TestCertificates _strangers = new("strangers");
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly TlsOptions _options;

    public TlsConnectionsTests()
    {
        _listener.Start();
        var server = _authority.Issue("worker.test");
        var client = _authority.Issue("client");
        _options = new TlsOptions
        {
            CertificatePath = _folder.Write("server.pem", server.Certificate),
            KeyPath = _folder.Write("server.key", server.Key),
            AuthorityPath = _folder.Write("ca.pem", _authority.Authority),
            ClientCertificatePath = _folder.Write("client.pem", client.Certificate),
            ClientKeyPath = _folder.Write("client.key", client.Key),
            ClientAuthorityPath = _folder.Write("clientca.pem", _authority.Authority),
        };
    }

    public void Dispose()
    {
        _listener.Dispose();
        _authority.Dispose();
        _strangers.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public async Task Both_sides_with_certificates_of_the_authority_speak_tls()
    {
        Assert.Equal("hello", await TalkAsync(Create(_options), Create(_options)));
        Assert.Equal("hello", await TalkAsync(Create(_options), Create(_options with { ServerName = "worker.test" })));
        Assert.Equal("hello", await TalkAsync(Create(_options), Create(_options with { AuthorityPath = null, Insecure = true })));
    }

    [Fact]
    public async Task Without_files_both_sides_are_plain() =>
        Assert.Equal("hello", await TalkAsync(Create(new TlsOptions()), new PlainConnections()));

    [Fact]
    public async Task A_server_of_another_authority_is_refused_by_the_dialling_side()
    {
        var exception = await Assert.ThrowsAsync<AuthenticationException>(() =>
            TalkAsync(Create(_options), Create(_options with { AuthorityPath = _strangers.Authority }))
        );
        Assert.Contains("errors in the certificate chain", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_with_another_name_is_refused()
    {
        var exception = await Assert.ThrowsAsync<AuthenticationException>(() =>
            TalkAsync(Create(_options), Create(_options with { ServerName = "somebody.else" }))
        );
        Assert.Contains("RemoteCertificateNameMismatch", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_expired_server_certificate_is_refused()
    {
        var expired = _authority.Issue("worker.test", expired: true);
        var exception = await Assert.ThrowsAsync<AuthenticationException>(() =>
            TalkAsync(Create(_options with { CertificatePath = expired.Certificate, KeyPath = expired.Key }), Create(_options))
        );
        Assert.Contains("NotTimeValid", exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_caller_without_a_certificate_of_the_authority_is_refused_and_the_operator_sees_it(bool hasOne)
    {
        var stranger = _strangers.Issue("stranger");
        var client = _options with
        {
            ClientCertificatePath = hasOne ? stranger.Certificate : null,
            ClientKeyPath = hasOne ? stranger.Key : null,
        };
        var refused = _log.Next(3603, TimeSpan.FromSeconds(10));
        await Assert.ThrowsAnyAsync<Exception>(() => TalkAsync(Create(_options), Create(client)));
        var line = await refused;
        Assert.Equal(LogLevel.Warning, line.Level);
        Assert.StartsWith("TLS handshake with 127.0.0.1:", line.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_peer_that_does_not_speak_tls_is_left_after_the_time_limit()
    {
        var server = Create(_options with { HandshakeTimeLimit = TimeSpan.FromMilliseconds(200) });
        using var silent = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await silent.ConnectAsync(_listener.LocalEndpoint);
        var exception = await Assert.ThrowsAsync<IOException>(async () =>
            await server.SecureAcceptedAsync(await _listener.AcceptSocketAsync(), default)
        );
        Assert.Contains("within 0.2 s", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_flipped_byte_ends_the_connection_instead_of_reaching_the_reader()
    {
        await using var proxy = FaultProxy.Start(((IPEndPoint)_listener.LocalEndpoint).Port);
        proxy.ToClient = new FaultPlan { FlipAt = 200 };
        await Assert.ThrowsAnyAsync<Exception>(() => TalkAsync(Create(_options), Create(_options), proxy.Port));
    }

    [Fact]
    public async Task Frames_split_at_every_byte_and_delayed_still_arrive()
    {
        await using var proxy = FaultProxy.Start(((IPEndPoint)_listener.LocalEndpoint).Port);
        proxy.ToClient = new FaultPlan { PieceBytesMax = 7, Delay = TimeSpan.FromMilliseconds(1) };
        proxy.ToTarget = new FaultPlan { PieceBytesMax = 1 };
        Assert.Equal("hello", await TalkAsync(Create(_options), Create(_options), proxy.Port));
    }

    [Fact]
    public async Task Renewed_files_are_used_without_a_restart_and_broken_ones_are_not()
    {
        var server = Create(_options with { ClientAuthorityPath = null });
        var client = new TlsOptions { AuthorityPath = _options.AuthorityPath };
        Assert.Equal("hello", await TalkAsync(server, Create(client)));

        await WaitForNextLookAsync();
        File.WriteAllText(_options.KeyPath!, "half written");
        var kept = _log.Next(3602, TimeSpan.FromSeconds(10));
        Assert.Equal("hello", await TalkAsync(server, Create(client)));
        Assert.Contains("DYN_TCP_TLS_KEY_PATH", (await kept).Text, StringComparison.Ordinal);

        var renewed = _strangers.Issue("worker.test");
        File.WriteAllText(_options.CertificatePath!, renewed.Certificate);
        File.WriteAllText(_options.KeyPath!, renewed.Key);
        await WaitForNextLookAsync();
        var told = _log.Next(3601, TimeSpan.FromSeconds(10));
        await Assert.ThrowsAsync<AuthenticationException>(() => TalkAsync(server, Create(client)));
        await told;
        Assert.Equal("hello", await TalkAsync(server, Create(client with { AuthorityPath = _strangers.Authority })));
    }

    [Fact]
    public void Incomplete_or_unreadable_settings_end_the_start_with_their_names()
    {
        Assert.Contains("DYN_TCP_TLS_KEY_PATH", Refused(_options with { KeyPath = null }), StringComparison.Ordinal);
        Assert.Contains(
            "DYN_TCP_TLS_CERT_PATH cannot be read",
            Refused(_options with { CertificatePath = "/nowhere.pem" }),
            StringComparison.Ordinal
        );
        Assert.Contains("no usable pair", Refused(_options with { KeyPath = _options.ClientKeyPath }), StringComparison.Ordinal);
        Assert.Contains(
            "holds no certificate",
            Refused(_options with { AuthorityPath = _folder.Write("empty.pem", "") }),
            StringComparison.Ordinal
        );
        Assert.Contains("to verify the peer", Refused(_options with { AuthorityPath = null }), StringComparison.Ordinal);
    }

    private static Task WaitForNextLookAsync() => Task.Delay(TimeSpan.FromSeconds(1.1)); // files are looked at once a second

    private string Refused(TlsOptions options) => Assert.Throws<InvalidOperationException>(() => Create(options)).Message;

    private TlsConnections Create(TlsOptions options) => new(options, TimeProvider.System, _log.For<TlsConnections>());

    /// <summary>The caller asks, the worker answers; what either side throws is thrown.</summary>
    private async Task<string> TalkAsync(IConnectionSecurity server, IConnectionSecurity client, int? port = null)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(10));
        var accepting = Task.Run(async () =>
        {
            using var socket = await _listener.AcceptSocketAsync(limit.Token);
            await using var stream = await server.SecureAcceptedAsync(socket, limit.Token);
            await stream.ReadExactlyAsync(new byte[1], limit.Token);
            await stream.WriteAsync("hello"u8.ToArray(), limit.Token);
        });
        var dialled = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await dialled.ConnectAsync(IPAddress.Loopback, port ?? ((IPEndPoint)_listener.LocalEndpoint).Port, limit.Token);
        try
        {
            await using var connection = await client.SecureDialledAsync(dialled, "127.0.0.1", limit.Token);
            await connection.WriteAsync("?"u8.ToArray(), limit.Token);
            var answer = new byte[5];
            await connection.ReadExactlyAsync(answer, limit.Token);
            return System.Text.Encoding.UTF8.GetString(answer);
        }
        finally
        {
            dialled.Dispose();
            await accepting.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
