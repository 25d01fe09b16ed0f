using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Dynamo.Vllm.Transports.Adapters;

/// <summary>AWS Signature Version 4 for requests without a body.</summary>
/// <remarks>Checked against the examples of AWS's documentation ("Authenticating Requests: Using the Authorization Header").</remarks>
internal static class S3Signature
{
    public const string EmptyBodyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// <param name="request">Gets the headers that prove who asks. Its own headers of that moment are signed along.</param>
    /// <param name="options">Credentials and region.</param>
    /// <param name="now">The time; the server accepts some minutes of difference.</param>
    public static void Sign(HttpRequestMessage request, S3Options options, DateTimeOffset now)
    {
        var time = now.UtcDateTime.ToString("yyyyMMdd'T'HHmmss'Z'", CultureInfo.InvariantCulture);
        request.Headers.TryAddWithoutValidation("x-amz-content-sha256", EmptyBodyHash);
        request.Headers.TryAddWithoutValidation("x-amz-date", time);
        if (options.SessionToken is { } token)
        {
            request.Headers.TryAddWithoutValidation("x-amz-security-token", token);
        }

        var address = request.RequestUri!;
        var headers = new SortedDictionary<string, string>(StringComparer.Ordinal)
        {
            ["host"] = address.IsDefaultPort ? address.IdnHost : $"{address.IdnHost}:{address.Port}",
        };
        foreach (var (name, values) in request.Headers)
        {
            headers[name.ToLowerInvariant()] = string.Join(',', values).Trim();
        }

        var signed = string.Join(';', headers.Keys);
        var canonical = string.Join(
            '\n',
            [
                request.Method.Method,
                address.AbsolutePath,
                Query(address),
                .. headers.Select(header => $"{header.Key}:{header.Value}"),
                "",
                signed,
                EmptyBodyHash,
            ]
        );
        var scope = $"{time[..8]}/{options.Region}/s3/aws4_request";
        var text = $"AWS4-HMAC-SHA256\n{time}\n{scope}\n{Hex(SHA256.HashData(Encoding.UTF8.GetBytes(canonical)))}";
        var key = Encoding.UTF8.GetBytes($"AWS4{options.SecretAccessKey}");
        foreach (var part in (string[])[time[..8], options.Region, "s3", "aws4_request", text])
        {
            key = HMACSHA256.HashData(key, Encoding.UTF8.GetBytes(part));
        }

        request.Headers.TryAddWithoutValidation(
            "Authorization",
            $"AWS4-HMAC-SHA256 Credential={options.AccessKeyId}/{scope},SignedHeaders={signed},Signature={Hex(key)}"
        );
    }

    private static string Query(Uri address) =>
        string.Join('&', address.Query.TrimStart('?').Split('&', StringSplitOptions.RemoveEmptyEntries).Order(StringComparer.Ordinal));

    private static string Hex(byte[] bytes) => Convert.ToHexStringLower(bytes);
}
