using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Dynamo.Vllm.Core.Adapters;

namespace Dynamo.Vllm.Transports.Adapters;

/// <summary><c>hf://owner/name[@revision]</c>: from the hub's own cache, or from the hub.</summary>
internal sealed partial class HubAdapters
{
    private const int RedirectionsMax = 10;

    private readonly AdapterSourceOptions _options;
    private readonly AdapterCache _cache;
    private readonly HttpClient _http;

    public HubAdapters(AdapterSourceOptions options, AdapterCache cache, HttpClient http)
    {
        _options = options;
        _cache = cache;
        _http = http;
    }

    public async Task<string> FetchAsync(string uri, CancellationToken cancellationToken)
    {
        var (repository, revision) = Parse(uri);
        if (FindInHubCache(repository, revision) is { } cached)
        {
            return cached;
        }

        if (_cache.FolderOf(uri) is var folder && AdapterFolder.IsComplete(folder))
        {
            return folder;
        }

        if (_options.HubIsOffline)
        {
            throw new AdapterSourceException(
                $"Download failed: HF_HUB_OFFLINE is enabled and hf://{repository}@{revision} is not fully cached"
            );
        }

        var files = await ListAsync(repository, revision, cancellationToken).ConfigureAwait(false);
        return await _cache.FillAsync(uri, files, (file, token) => GetAsync(file.Address, token), cancellationToken).ConfigureAwait(false);
    }

    private static (string Repository, string Revision) Parse(string uri)
    {
        var rest = uri["hf://".Length..];
        var at = rest.IndexOf('@', StringComparison.Ordinal);
        var (repository, revision) = at < 0 ? (rest.TrimEnd('/'), "main") : (rest[..at], rest[(at + 1)..]);
        if (!RepositoryPattern().IsMatch(repository))
        {
            throw new AdapterSourceException($"Download failed: invalid Hugging Face repository: \"{repository}\"");
        }

        return RevisionPattern().IsMatch(revision)
            ? (repository, revision)
            : throw new AdapterSourceException($"Download failed: invalid Hugging Face revision: \"{revision}\"");
    }

    private string? FindInHubCache(string repository, string revision)
    {
        var model = Path.Combine(_options.HubCacheFolder, $"models--{repository.Replace("/", "--", StringComparison.Ordinal)}");
        var reference = Path.Combine(model, "refs", revision);
        var commit = File.Exists(reference) ? File.ReadAllText(reference).Trim() : revision;
        var snapshot = Path.Combine(model, "snapshots", commit);
        return RevisionPattern().IsMatch(commit) && AdapterFolder.IsComplete(snapshot) ? snapshot : null;
    }

    /// <summary>The files that an engine reads; a repository holds others, training states for one.</summary>
    private async Task<IReadOnlyList<AdapterFile>> ListAsync(string repository, string revision, CancellationToken cancellationToken)
    {
        var address = AddressOf($"api/models/{repository}/revision/{Uri.EscapeDataString(revision)}");
        using var response = await GetAsync(address, cancellationToken).ConfigureAwait(false);
        await response.Content.LoadIntoBufferAsync(AdapterSourceOptions.ListBytesMax, cancellationToken).ConfigureAwait(false);
        var text = await response.Content.ReadAsStringAsync(cancellationToken).ConfigureAwait(false);
        JsonObject? model;
        try
        {
            model = JsonNode.Parse(text) as JsonObject;
        }
        catch (JsonException exception)
        {
            throw new AdapterSourceException(
                $"Download failed: the hub's list of hf://{repository} is no JSON: {exception.Message}",
                exception
            );
        }

        var names = (model?["siblings"] as JsonArray ?? [])
            .Select(file => (file as JsonObject)?["rfilename"] as JsonValue)
            .Where(name => name?.GetValueKind() == JsonValueKind.String)
            .Select(name => name!.GetValue<string>())
            .ToHashSet(StringComparer.Ordinal);
        var commit = model?["sha"] is JsonValue sha && sha.GetValueKind() == JsonValueKind.String ? sha.GetValue<string>() : revision;
        var weights = AdapterFolder.Weights.FirstOrDefault(names.Contains);
        string?[] wanted = [AdapterFolder.Settings, weights, "new_embeddings.safetensors"];
        return
        [
            .. wanted
                .Where(name => name is not null && names.Contains(name))
                .Select(name => new AdapterFile(name!, AddressOf($"{repository}/resolve/{Uri.EscapeDataString(commit)}/{name}"))),
        ];
    }

    /// <summary>Mirrors lie below a path.</summary>
    private Uri AddressOf(string path) => new($"{_options.HubAddress.GetLeftPart(UriPartial.Path).TrimEnd('/')}/{path}");

    private async Task<HttpResponseMessage> GetAsync(Uri address, CancellationToken cancellationToken)
    {
        for (var redirections = 0; ; redirections++)
        {
            var response = await SendAsync(address, cancellationToken).ConfigureAwait(false);
            if (response.StatusCode == HttpStatusCode.OK)
            {
                return response;
            }

            using (response)
            {
                address =
                    redirections < RedirectionsMax && Redirection(address, response) is { } next
                        ? next
                        : throw new AdapterSourceException(
                            $"Download failed: the hub answers {(int)response.StatusCode} for {address.AbsolutePath}"
                        );
            }
        }
    }

    /// <summary>The token is for the hub, which sends its small files from
    /// another path of its own, not for the store of large ones.</summary>
    private async Task<HttpResponseMessage> SendAsync(Uri address, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, address);
        if (_options.HubToken is { } token && IsHub(address))
        {
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        }

        return await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken).ConfigureAwait(false);
    }

    private bool IsHub(Uri address) =>
        Uri.Compare(
            address,
            _options.HubAddress,
            UriComponents.SchemeAndServer,
            UriFormat.SafeUnescaped,
            StringComparison.OrdinalIgnoreCase
        ) == 0;

    /// <summary>Where the answer sends on to, or null: nowhere, or from TLS to something else.</summary>
    private static Uri? Redirection(Uri address, HttpResponseMessage response)
    {
        if ((int)response.StatusCode is not (301 or 302 or 303 or 307 or 308) || response.Headers.Location is not { } location)
        {
            return null;
        }

        var next = new Uri(address, location);
        return next.Scheme == Uri.UriSchemeHttps || (next.Scheme == Uri.UriSchemeHttp && address.Scheme == Uri.UriSchemeHttp) ? next : null;
    }

    [GeneratedRegex(@"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?\z")]
    private static partial Regex RepositoryPattern();

    // Branches may hold slashes; a part of dots alone would lead out of the cache.
    [GeneratedRegex(@"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,127})*\z")]
    private static partial Regex RevisionPattern();
}
