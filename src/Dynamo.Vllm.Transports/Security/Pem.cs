using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Dynamo.Vllm.Transports.Security;

/// <summary>Certificates and keys as configured: a path of a PEM file, or the PEM text itself.</summary>
/// <remarks>
/// The variables are documented as paths, but release 1.6.1 takes ETCD_AUTH_* as the text (runtime.md, 3.4), so both are read everywhere.
/// Every failure is an <see cref="InvalidOperationException"/> that names the setting and never shows a key.
/// </remarks>
internal static class Pem
{
    /// <summary>Of TLS, on the request plane and the status port: those that the peers have; older ones are refused whatever the
    /// system's defaults say.</summary>
    public const SslProtocols Versions = SslProtocols.Tls12 | SslProtocols.Tls13;

    private const string Begin = "-----BEGIN ";

    /// <summary>True if the value is a file name, whose content may change later.</summary>
    public static bool IsPath(string value) => !value.Contains(Begin, StringComparison.Ordinal);

    /// <summary>Certificates of an authority, at least one.</summary>
    public static X509Certificate2Collection LoadAuthorities(string value, string setting)
    {
        var certificates = new X509Certificate2Collection();
        try
        {
            certificates.ImportFromPem(ReadText(value, setting));
        }
        catch (CryptographicException exception)
        {
            throw Unusable(setting, value, exception);
        }

        return certificates.Count > 0
            ? certificates
            : throw new InvalidOperationException($"{setting} ({NameOf(value)}) holds no certificate");
    }

    /// <summary>A certificate with its key, and whatever intermediate certificates follow it in the file.</summary>
    public static SslStreamCertificateContext LoadIdentity(string certificate, string certificateSetting, string key, string keySetting)
    {
        var certificateText = ReadText(certificate, certificateSetting);
        var keyText = ReadText(key, keySetting);
        try
        {
            var leaf = X509Certificate2.CreateFromPem(certificateText, keyText);
            var chain = new X509Certificate2Collection();
            chain.ImportFromPem(certificateText);
            if (chain.Count > 0)
            {
                chain.RemoveAt(0); // the leaf
            }

            // Offline: nothing is fetched from the network while a peer waits in its handshake.
            return SslStreamCertificateContext.Create(leaf, chain, offline: true);
        }
        catch (Exception exception) when (exception is CryptographicException or ArgumentException)
        {
            throw new InvalidOperationException(
                $"{certificateSetting} ({NameOf(certificate)}) and {keySetting} ({NameOf(key)}) are no usable pair: {exception.Message}",
                exception
            );
        }
    }

    /// <summary>Validation against the given authorities alone; the system's are not asked. Name and dates are checked as usual.</summary>
    public static X509ChainPolicy TrustOnly(X509Certificate2Collection authorities)
    {
        var policy = new X509ChainPolicy
        {
            TrustMode = X509ChainTrustMode.CustomRootTrust,
            RevocationMode = X509RevocationMode.NoCheck, // private authorities publish no lists
            DisableCertificateDownloads = true,
        };
        policy.CustomTrustStore.AddRange(authorities);
        return policy;
    }

    /// <summary>For connections whose operator has asked for no verification (DYN_TCP_TLS_INSECURE, NATS_TLS_INSECURE).</summary>
    public static void TrustAnybody(SslClientAuthenticationOptions options) =>
#pragma warning disable CA5359 // the purpose of the setting, whose name says the risk
        options.RemoteCertificateValidationCallback = static (_, _, _, _) => true;
#pragma warning restore CA5359

    private static string ReadText(string value, string setting)
    {
        if (!IsPath(value))
        {
            return value;
        }

        try
        {
            return File.ReadAllText(value);
        }
        catch (Exception exception)
            when (exception is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new InvalidOperationException($"{setting} cannot be read: {exception.Message}", exception);
        }
    }

    private static InvalidOperationException Unusable(string setting, string value, Exception exception) =>
        new($"{setting} ({NameOf(value)}) is no usable PEM: {exception.Message}", exception);

    private static string NameOf(string value) => IsPath(value) ? value : "given as text";
}
