using System.Net.Security;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Security;

/// <summary>Certificate and key of a server that others than callers of the planes reach; renewed files count without a restart.</summary>
public sealed class ServerIdentity
{
    private readonly RenewedPem<SslStreamCertificateContext> _identity;

    /// <param name="certificate">PEM file, intermediate certificates after the first.</param>
    /// <param name="certificateSetting">Who names it, for errors.</param>
    /// <param name="key">PEM file of its key.</param>
    /// <param name="keySetting">Who names it.</param>
    /// <param name="time">Clock.</param>
    /// <param name="logger">Log.</param>
    /// <exception cref="InvalidOperationException">A file cannot be used; the message names the setting.</exception>
    public ServerIdentity(
        string certificate,
        string certificateSetting,
        string key,
        string keySetting,
        TimeProvider time,
        ILogger<ServerIdentity> logger
    ) =>
        _identity = new RenewedPem<SslStreamCertificateContext>(
            [certificate, key],
            () => Pem.LoadIdentity(certificate, certificateSetting, key, keySetting),
            time,
            logger
        );

    /// <summary>For one handshake.</summary>
    /// <param name="protocol">The only one spoken there.</param>
    public SslServerAuthenticationOptions Accepting(SslApplicationProtocol protocol) =>
        new()
        {
            ServerCertificateContext = _identity.Current,
            EnabledSslProtocols = Pem.Versions,
            ApplicationProtocols = [protocol],
        };

    /// <summary>For a connection of this process to itself, where any certificate is its own.</summary>
    public static async Task<Stream> OpenToSelfAsync(Stream plain, CancellationToken cancellationToken)
    {
        var secure = new SslStream(plain);
        var options = new SslClientAuthenticationOptions { TargetHost = "localhost" };
        Pem.TrustAnybody(options);
        await secure.AuthenticateAsClientAsync(options, cancellationToken).ConfigureAwait(false);
        return secure;
    }
}
