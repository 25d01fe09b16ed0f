using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Servers;
using Grpc.Health.V1;
using Grpc.Net.Client;

namespace Dynamo.Vllm.PythonTests;

/// <summary>The status port and gRPC with a certificate: TLS alone, and a renewed file counts without a restart.</summary>
public sealed class StatusTlsTests : SimulatedWorkerTests
{
    private readonly TemporaryFolder _folder = new();
    private readonly TestCertificates _authority = new();

    [Fact]
    public async Task Probes_and_grpc_speak_tls_alone_and_a_renewed_certificate_is_shown()
    {
        Write("127.0.0.1");
        var grpc = FreePorts.Next();
        await using var worker = WorkerProcess.StartSimulated(
            Store,
            ["--system-tls-cert", Path("cert.pem"), "--system-tls-key", Path("key.pem"), "--grpc-port", $"{grpc}"]
        );
        var port = worker.Http.BaseAddress!.Port;
        await worker.Process.LineAsync("Ready: serving", Limit);

        X509Certificate2? shown = null;
        using var http = new HttpClient(Handler(certificate => shown = certificate));
        Assert.Equal(System.Net.HttpStatusCode.OK, (await http.GetAsync(new Uri($"https://127.0.0.1:{port}/health"))).StatusCode);
        using var plain = new HttpClient();
        await Assert.ThrowsAsync<HttpRequestException>(() => plain.GetAsync(new Uri($"http://127.0.0.1:{port}/health")));
        using (
            var channel = GrpcChannel.ForAddress($"https://127.0.0.1:{grpc}", new GrpcChannelOptions { HttpHandler = Handler(_ => { }) })
        )
        {
            var answer = await new Health.HealthClient(channel).CheckAsync(new HealthCheckRequest());
            Assert.Equal(HealthCheckResponse.Types.ServingStatus.Serving, answer.Status);
        }

        Assert.DoesNotContain(worker.Process.Lines, line => line.Contains("did not answer its own first probe", StringComparison.Ordinal));

        var first = shown!.SerialNumber;
        Write("127.0.0.1");
        await Polling.UntilAsync(
            "the renewed certificate is not shown",
            Limit,
            async () =>
            {
                using var again = new HttpClient(Handler(certificate => shown = certificate));
                await again.GetAsync(new Uri($"https://127.0.0.1:{port}/live"));
                return shown.SerialNumber != first;
            }
        );
        worker.Process.Signal("TERM");
        Assert.Equal(0, await worker.Process.ExitCodeAsync(Limit));
    }

    [Theory]
    [InlineData("--system-tls-cert", "cert.pem", "--system-tls-cert {0}/cert.pem needs --system-tls-key")]
    [InlineData("--system-tls-key", "key.pem", "--system-tls-key {0}/key.pem needs --system-tls-cert")]
    [InlineData(
        "--system-tls-cert=cert.pem",
        "--system-tls-key=none.pem",
        "--system-tls-key cannot be read: Could not find file '{0}/none.pem'"
    )]
    public async Task Half_a_pair_or_a_file_that_is_not_there_ends_the_start_in_one_line(string flag, string value, string line)
    {
        Write("127.0.0.1");
        string[] flags = flag.Contains('=', StringComparison.Ordinal)
            ?
            [
                flag.Replace("=", $"={_folder.Path}/", StringComparison.Ordinal),
                value.Replace("=", $"={_folder.Path}/", StringComparison.Ordinal),
            ]
            : [flag, Path(value)];
        await using var worker = WorkerProcess.StartSimulated(Store, flags);
        Assert.NotEqual(0, await worker.Process.ExitCodeAsync(Limit));
        var wanted = string.Format(System.Globalization.CultureInfo.InvariantCulture, line, _folder.Path);
        Assert.Contains(worker.Process.Lines, said => said.Contains(wanted, StringComparison.Ordinal));
        Assert.DoesNotContain(worker.Process.Lines, said => said.Contains("   at ", StringComparison.Ordinal));
    }

    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _folder.Dispose();
        _authority.Dispose();
    }

    private string Path(string name) => System.IO.Path.Combine(_folder.Path, name);

    private void Write(string host)
    {
        var (certificate, key) = _authority.Issue(host);
        _folder.Write("key.pem", key);
        _folder.Write("cert.pem", certificate);
    }

    private SocketsHttpHandler Handler(Action<X509Certificate2> show) =>
        new()
        {
            SslOptions = new SslClientAuthenticationOptions
            {
                RemoteCertificateValidationCallback = (_, certificate, _, _) =>
                {
                    var leaf = (X509Certificate2)certificate!;
                    using var chain = new X509Chain { ChainPolicy = { RevocationMode = X509RevocationMode.NoCheck } };
                    chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
                    chain.ChainPolicy.CustomTrustStore.ImportFromPem(_authority.Authority);
                    show(leaf);
                    return chain.Build(leaf);
                },
            },
        };
}
