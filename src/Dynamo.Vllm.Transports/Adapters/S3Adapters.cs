using System.Net;
using System.Text.RegularExpressions;
using System.Xml;
using System.Xml.Linq;
using Dynamo.Vllm.Core.Adapters;

namespace Dynamo.Vllm.Transports.Adapters;

/// <summary><c>s3://bucket/prefix</c>: all objects below the prefix.</summary>
/// <remarks>Credentials come from the environment's variables; those of a machine or a service account are not asked for.</remarks>
internal sealed partial class S3Adapters
{
    private readonly AdapterSourceOptions _options;
    private readonly AdapterCache _cache;
    private readonly HttpClient _http;
    private readonly TimeProvider _time;

    public S3Adapters(AdapterSourceOptions options, AdapterCache cache, HttpClient http, TimeProvider time)
    {
        _options = options;
        _cache = cache;
        _http = http;
        _time = time;
    }

    public async Task<string> FetchAsync(string uri, CancellationToken cancellationToken)
    {
        var rest = uri["s3://".Length..];
        var slash = rest.IndexOf('/', StringComparison.Ordinal);
        var (bucket, prefix) = slash < 0 ? (rest, "") : (rest[..slash], rest[(slash + 1)..].TrimEnd('/'));
        if (bucket.Length == 0)
        {
            throw new AdapterSourceException("Download failed: No bucket in S3 URI");
        }

        if (!BucketPattern().IsMatch(bucket))
        {
            throw new AdapterSourceException($"Download failed: invalid S3 bucket: \"{bucket}\"");
        }

        if (_cache.FolderOf(uri) is var folder && AdapterFolder.IsComplete(folder))
        {
            return folder;
        }

        if (_options.S3.AccessKeyId is null || _options.S3.SecretAccessKey is null)
        {
            throw new AdapterSourceException("Download failed: Generic S3 error: an error occurred while loading credentials");
        }

        var files = await ListAsync(bucket, prefix, cancellationToken).ConfigureAwait(false);
        return await _cache.FillAsync(uri, files, (file, token) => GetAsync(file.Address, token), cancellationToken).ConfigureAwait(false);
    }

    private async Task<IReadOnlyList<AdapterFile>> ListAsync(string bucket, string prefix, CancellationToken cancellationToken)
    {
        var below = prefix.Length == 0 ? "" : $"{prefix}/";
        var query = $"?list-type=2&max-keys={_options.FilesMax + 1}&prefix={Uri.EscapeDataString(below)}";
        using var response = await GetAsync(AddressOf(bucket, "", query), cancellationToken).ConfigureAwait(false);
        await response.Content.LoadIntoBufferAsync(AdapterSourceOptions.ListBytesMax, cancellationToken).ConfigureAwait(false);
        var text = await response.Content.ReadAsStringAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            return
            [
                .. XDocument
                    .Parse(text)
                    .Descendants()
                    .Where(element => element.Name.LocalName == "Key")
                    .Select(element => element.Value)
                    .Where(key => key.Length > below.Length && !key.EndsWith('/') && key.StartsWith(below, StringComparison.Ordinal))
                    .Select(key => new AdapterFile(key[below.Length..], AddressOf(bucket, key, ""))),
            ];
        }
        catch (XmlException exception)
        {
            throw new AdapterSourceException($"Download failed: the list of bucket '{bucket}' is no XML: {exception.Message}", exception);
        }
    }

    private Uri AddressOf(string bucket, string key, string query)
    {
        var path = string.Join('/', key.Split('/').Select(Uri.EscapeDataString));
        return _options.S3.Endpoint is { } endpoint
            ? new Uri($"{endpoint.GetLeftPart(UriPartial.Path).TrimEnd('/')}/{Uri.EscapeDataString(bucket)}/{path}{query}")
            : new Uri($"https://{bucket}.s3.{_options.S3.Region}.amazonaws.com/{path}{query}");
    }

    private async Task<HttpResponseMessage> GetAsync(Uri address, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, address);
        S3Signature.Sign(request, _options.S3, _time.GetUtcNow());
        var response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken).ConfigureAwait(false);
        if (response.StatusCode == HttpStatusCode.OK)
        {
            return response;
        }

        using (response)
        {
            throw new AdapterSourceException($"Download failed: Generic S3 error: {(int)response.StatusCode} for {address.AbsolutePath}");
        }
    }

    // AWS's bucket is a part of the host name: any other character could make it another host, which would be shown the session's token.
    [GeneratedRegex(@"^(?=.{1,63}\z)[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*\z")]
    private static partial Regex BucketPattern();
}
