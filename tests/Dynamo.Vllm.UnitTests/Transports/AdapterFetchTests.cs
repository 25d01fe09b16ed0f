using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using Dynamo.Vllm.Core.Adapters;
using Dynamo.Vllm.Transports.Adapters;

namespace Dynamo.Vllm.UnitTests.Transports;

/// <summary>Where an adapter's fetch goes, with which credentials, and how it ends.</summary>
public sealed class AdapterFetchTests : IDisposable
{
    private const string List = """{"sha":"0123abcd","siblings":[{"rfilename":"adapter_config.json"},{"rfilename":"adapter_model.bin"}]}""";

    private readonly string _folder = Directory.CreateTempSubdirectory("adapters_").FullName;
    private readonly Wire _wire = new();

    public void Dispose()
    {
        _wire.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Theory]
    [InlineData("s3://evil.example#/ad")]
    [InlineData("s3://evil.example?/ad")]
    [InlineData("s3://evil.example\\/ad")]
    [InlineData("s3://user@evil.example:443#/ad")]
    [InlineData("s3://a..b/ad")]
    public async Task A_bucket_that_is_none_reaches_no_host(string uri)
    {
        using var http = new HttpClient(_wire, disposeHandler: false);
        var options = Options() with
        {
            S3 = new S3Options
            {
                AccessKeyId = "id",
                SecretAccessKey = "secret",
                SessionToken = "token",
            },
        };
        var store = new S3Adapters(options, new AdapterCache(options), http, TimeProvider.System);
        var failure = await Assert.ThrowsAsync<AdapterSourceException>(() => store.FetchAsync(uri, CancellationToken.None));
        Assert.Equal($"Download failed: invalid S3 bucket: \"{uri["s3://".Length..^"/ad".Length]}\"", failure.Message);
        Assert.Empty(_wire.Requests);
    }

    [Fact]
    public async Task The_hub_may_lie_below_a_path()
    {
        _wire.Answers["https://mirror.example/api/hub/api/models/org/ad/revision/main"] = () => Wire.Ok(List);
        _wire.Answers["https://mirror.example/api/hub/org/ad/resolve/0123abcd/adapter_config.json"] = () => Wire.Ok("{}");
        _wire.Answers["https://mirror.example/api/hub/org/ad/resolve/0123abcd/adapter_model.bin"] = () => Wire.Ok("weights");
        await FetchFromHubAsync(Options() with { HubAddress = new Uri("https://mirror.example/api/hub/") });
    }

    [Fact]
    public async Task The_token_goes_along_within_the_hub_and_never_out_of_it()
    {
        _wire.Answers["https://hub.example/api/models/org/ad/revision/main"] = () => Wire.Ok(List);
        _wire.Answers["https://hub.example/org/ad/resolve/0123abcd/adapter_config.json"] = () => Wire.Redirect("/api/resolve-cache/config");
        _wire.Answers["https://hub.example/api/resolve-cache/config"] = () => Wire.Ok("{}");
        _wire.Answers["https://hub.example/org/ad/resolve/0123abcd/adapter_model.bin"] = () =>
            Wire.Redirect("https://cdn.example/weights?s=1");
        _wire.Answers["https://cdn.example/weights?s=1"] = () => Wire.Ok("weights");
        await FetchFromHubAsync(Options());
        Assert.All(
            _wire.Requests,
            request => Assert.Equal(request.Address.Host == "hub.example" ? "Bearer secret" : null, request.Authorization?.ToString())
        );
        Assert.Equal(5, _wire.Requests.Count);
    }

    [Theory]
    [InlineData("http://hub.example/plain")]
    [InlineData("file:///etc/passwd")]
    [InlineData("/api/models/org/ad/revision/main")] // in a circle
    public async Task A_redirection_to_somewhere_worse_is_not_followed(string location)
    {
        _wire.Answers["https://hub.example/api/models/org/ad/revision/main"] = () => Wire.Redirect(location);
        var failure = await Assert.ThrowsAsync<AdapterSourceException>(() => FetchFromHubAsync(Options()));
        Assert.Equal("Download failed: the hub answers 307 for /api/models/org/ad/revision/main", failure.Message);
        Assert.All(_wire.Requests, request => Assert.Equal(Uri.UriSchemeHttps, request.Address.Scheme));
    }

    [Fact]
    public async Task A_list_has_a_limit()
    {
        _wire.Answers["https://hub.example/api/models/org/ad/revision/main"] = () => Wire.Ok(List + new string(' ', 8 << 20));
        await Assert.ThrowsAsync<HttpRequestException>(() => FetchFromHubAsync(Options()));
        Assert.Single(_wire.Requests);
    }

    [Fact]
    public async Task A_fetch_ends_with_its_owner_also_between_two_bytes_of_a_file()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var options = Options() with { HubAddress = new Uri($"http://{listener.LocalEndpoint}") };
        using var sources = new AdapterSources(options, TimeProvider.System);
        var fetch = sources.FetchAsync("hf://org/ad", CancellationToken.None);
        var head = $"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {List.Length}\r\n\r\n";
        using var list = await AnswerAsync(listener, head + List);
        list.Close();
        using var file = await AnswerAsync(listener, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{");
        while (Directory.GetFiles(_folder, "adapter_config.json", SearchOption.AllDirectories).Length == 0)
        {
            await Task.Delay(10, limit.Token);
        }

        sources.Dispose();
        var failure = await Assert.ThrowsAsync<AdapterSourceException>(() => fetch.WaitAsync(TimeSpan.FromSeconds(30)));
        Assert.Equal("Download failed: hf://org/ad: the worker stops", failure.Message);
        Assert.Empty(Directory.GetFileSystemEntries(_folder));
        await Assert.ThrowsAsync<AdapterSourceException>(() => sources.FetchAsync("hf://org/ad", CancellationToken.None));
    }

    private AdapterSourceOptions Options() =>
        new()
        {
            CacheFolder = _folder,
            HubCacheFolder = Path.Combine(_folder, "none"),
            HubAddress = new Uri("https://hub.example"),
            HubToken = "secret",
        };

    private async Task FetchFromHubAsync(AdapterSourceOptions options)
    {
        using var http = new HttpClient(_wire, disposeHandler: false);
        var folder = await new HubAdapters(options, new AdapterCache(options), http).FetchAsync("hf://org/ad", CancellationToken.None);
        Assert.Equal("weights", await File.ReadAllTextAsync(Path.Combine(folder, "adapter_model.bin")));
    }

    private static async Task<TcpClient> AnswerAsync(TcpListener listener, string answer)
    {
        var client = await listener.AcceptTcpClientAsync();
        var buffer = new byte[4096];
        var request = "";
        while (!request.EndsWith("\r\n\r\n", StringComparison.Ordinal))
        {
            var count = await client.GetStream().ReadAsync(buffer);
            Assert.NotEqual(0, count);
            request += Encoding.ASCII.GetString(buffer, 0, count);
        }

        await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes(answer));
        return client;
    }

    /// <summary>Answers by address, 404 to all others, and follows nothing by itself.</summary>
    private sealed class Wire : HttpMessageHandler
    {
        public Dictionary<string, Func<HttpResponseMessage>> Answers { get; } = [];

        public List<(Uri Address, AuthenticationHeaderValue? Authorization)> Requests { get; } = [];

        public static HttpResponseMessage Ok(string text) => new(HttpStatusCode.OK) { Content = new StringContent(text) };

        public static HttpResponseMessage Redirect(string location) =>
            new(HttpStatusCode.TemporaryRedirect) { Headers = { Location = new Uri(location, UriKind.RelativeOrAbsolute) } };

        protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            Requests.Add((request.RequestUri!, request.Headers.Authorization));
            var isKnown = Answers.TryGetValue(request.RequestUri!.AbsoluteUri, out var answer);
            return Task.FromResult(isKnown ? answer!() : new HttpResponseMessage(HttpStatusCode.NotFound));
        }
    }
}
