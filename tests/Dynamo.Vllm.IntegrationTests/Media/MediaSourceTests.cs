using System.Globalization;
using System.Net;
using System.Text;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Multimodal;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Logs;
using Dynamo.Vllm.Testing.Media;
using Dynamo.Vllm.Transports.Media;

namespace Dynamo.Vllm.IntegrationTests.Media;

/// <summary>Media from a real host that serves, redirects, dribbles and floods.</summary>
public sealed class MediaSourceTests : IAsyncDisposable
{
    private const int BytesMax = 1 << 20;

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    private static readonly MediaSourceOptions Internal = new() { AllowsInternal = true, BytesMax = BytesMax };

    private readonly MediaHost _host = new();
    private readonly LogCapture _logs = new();

    public MediaSourceTests() => _host.Add("a", "hello"u8.ToArray());

    public ValueTask DisposeAsync() => _host.DisposeAsync();

    [Theory]
    [InlineData("files/a")]
    [InlineData("redirect/1/a")]
    [InlineData("redirect/3/a")]
    public async Task A_medium_is_fetched_through_redirects(string path) => Assert.Equal("hello", await FetchAsync(_host.Url(path)));

    [Theory]
    [InlineData("redirect/4/a", "more than 3 redirects, the limit")]
    [InlineData("to?ftp://127.0.0.1/x", "URLs of the scheme 'ftp' are not allowed")]
    [InlineData("endless", "more than 1048576 bytes, the limit that DYN_MM_MAX_FILE_SIZE_MB sets")]
    [InlineData("gzip/1048577", "more than 1048576 bytes, the limit that DYN_MM_MAX_FILE_SIZE_MB sets")]
    [InlineData("files/empty", "answered with nothing")]
    [InlineData("status/408", "answered with status 408")]
    [InlineData("status/429", "answered with status 429")]
    [InlineData("status/503", "answered with status 503")]
    public async Task What_does_not_serve_is_the_clients_mistake(string path, string problem)
    {
        _host.Add("empty", []);
        var error = await RefusalAsync(_host.Url(path));
        Assert.Contains(problem, error.PublicMessage, StringComparison.Ordinal);
        Assert.StartsWith("field", error.PublicMessage, StringComparison.Ordinal);
        Assert.Equal(("InvalidRequest", "backend.invalid_argument"), (error.Class, error.Reason));
    }

    [Theory]
    [InlineData(403, "PermissionDenied")]
    [InlineData(404, "NotFound")]
    [InlineData(415, "UnsupportedMedia")]
    public async Task What_the_host_says_of_the_url_is_passed_on(int status, string errorClass) =>
        Assert.Equal(errorClass, (await RefusalAsync(_host.Url($"status/{status.ToString(CultureInfo.InvariantCulture)}"))).Class);

    [Fact]
    public async Task As_many_bytes_as_the_limit_are_taken()
    {
        using var source = Source(Internal with { CachedImages = 0 });
        Assert.Equal(BytesMax, (await FetchAsync(source, _host.Url("gzip/1048576"))).Length);
    }

    [Theory]
    [InlineData("http", "http:// URLs are not allowed; DYN_MM_ALLOW_INTERNAL=1 of the worker allows them")]
    [InlineData("https", "the address 127.0.0.1 is internal")]
    public async Task Nothing_internal_is_asked_unless_it_is_allowed(string scheme, string problem)
    {
        var url = _host.Url("files/a").Replace("http:", scheme + ":", StringComparison.Ordinal);
        Assert.Equal($"field: {problem}", (await RefusalAsync(url, new MediaSourceOptions())).PublicMessage);
        Assert.Equal(0, _host.Asked("files/a"));
    }

    [Fact]
    public async Task A_name_counts_as_what_it_resolves_to_when_it_is_connected_to()
    {
        var asked = 0;
        IPAddress[] addresses = [IPAddress.Parse("8.8.8.8"), IPAddress.Loopback];
        using var source = new MediaSource(new MediaSourceOptions(), ResolveAsync, TimeProvider.System, _logs.For<MediaSource>());
        var failure = await Assert.ThrowsAsync<RequestFailedException>(() => FetchAsync(source, "https://example.com/").WaitAsync(Limit));
        Assert.Equal("field: the host 'example.com' resolves to 127.0.0.1, which is internal", failure.Error.PublicMessage);
        Assert.Equal(1, asked); // so that no second answer can be another one

        Task<IPAddress[]> ResolveAsync(string host, CancellationToken cancellationToken)
        {
            asked++;
            return Task.FromResult(addresses);
        }
    }

    [Fact]
    public async Task A_host_that_dribbles_is_left_when_the_time_is_over()
    {
        var error = await RefusalAsync(_host.Url("never"), Internal with { TimeLimit = TimeSpan.FromSeconds(0.5) });
        Assert.Equal("field: the host '127.0.0.1' has not answered within 0.5 s", error.PublicMessage);
        await _host.LeftAsync(Limit);
    }

    [Fact]
    public async Task A_caller_who_leaves_ends_the_fetch_but_not_that_of_another()
    {
        using var source = Source(Internal);
        using var one = new CancellationTokenSource();
        using var other = new CancellationTokenSource();
        var first = FetchAsync(source, _host.Url("never"), one.Token);
        await _host.NeverAskedAsync(Limit);
        var second = FetchAsync(source, _host.Url("never"), other.Token);
        await one.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first.WaitAsync(Limit));
        Assert.False(second.IsCompleted);
        await other.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => second.WaitAsync(Limit));
        await _host.LeftAsync(Limit);
        Assert.Equal(1, _host.Asked("never"));
    }

    [Fact]
    public async Task Images_are_kept_by_url_up_to_their_number()
    {
        _host.Add("b", "b"u8.ToArray());
        using var source = Source(Internal with { CachedImages = 1 });
        foreach (var name in (string[])["a", "a", "b", "a"])
        {
            await FetchAsync(source, _host.Url($"files/{name}"));
        }

        Assert.Equal((2, 1), (_host.Asked("files/a"), _host.Asked("files/b")));
        await source.FetchAsync(MediaKind.Video, _host.Url("files/a"), "field", null, default);
        Assert.Equal(3, _host.Asked("files/a"));
    }

    [Fact]
    public async Task What_was_fetched_for_one_scope_is_shown_to_no_other()
    {
        using var source = Source(Internal with { CachesByScope = true });
        foreach (var scope in (string?[])["x", "x", "y", null, null])
        {
            await source.FetchAsync(MediaKind.Image, _host.Url("files/a"), "field", scope, default);
        }

        Assert.Equal(4, _host.Asked("files/a"));
    }

    [Fact]
    public async Task Credentials_go_to_their_host_and_into_no_log()
    {
        var port = _host.Port.ToString(CultureInfo.InvariantCulture);
        Assert.Equal("hello", await FetchAsync($"http://me:secret@127.0.0.1:{port}/files/a"));
        Assert.Equal("Basic " + Convert.ToBase64String("me:secret"u8), _host.Headers["Authorization"]);
        await RefusalAsync($"http://me:secret@127.0.0.1:{port}/status/500?token=secret");
        Assert.DoesNotContain(_logs.Lines, line => line.Text.Contains("secret", StringComparison.Ordinal));
        Assert.Contains(_logs.Lines, line => line.Text.Contains("host '127.0.0.1': status 500", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Local_videos_are_served_out_of_the_operators_folder_alone()
    {
        using var folder = new TemporaryFolder();
        var (inside, outside) = (Path.Combine(folder.Path, "in"), Path.Combine(folder.Path, "secret"));
        Directory.CreateDirectory(inside);
        await File.WriteAllTextAsync(Path.Combine(inside, "a b.mp4"), "hello");
        await File.WriteAllTextAsync(outside, "secret");
        File.CreateSymbolicLink(Path.Combine(inside, "link"), outside);
        var options = new MediaSourceOptions { LocalFolder = inside };
        using var source = Source(options);
        foreach (var url in (string[])[$"file://{inside}/a%20b.mp4", $"{inside}/a b.mp4"])
        {
            var bytes = await source.FetchAsync(MediaKind.Video, url, "field", null, default);
            Assert.Equal("hello", Encoding.UTF8.GetString(bytes.Span));
        }

        foreach (
            var path in (string[])[$"file://{outside}", $"{inside}/../secret", $"{inside}/link", $"{inside}/none", inside, "/proc/self/mem"]
        )
        {
            var failure = await Assert.ThrowsAsync<RequestFailedException>(() =>
                source.FetchAsync(MediaKind.Audio, path, "field", null, default)
            );
            Assert.Matches("^field: the file (is outside of the folder|cannot be read)", failure.Error.PublicMessage);
        }

        Assert.Equal(
            "field: images of local files are not served",
            (await RefusalAsync($"file://{inside}/a b.mp4", options)).PublicMessage
        );
    }

    private async Task<string> FetchAsync(string url)
    {
        using var source = Source(Internal);
        return await FetchAsync(source, url);
    }

    private static async Task<string> FetchAsync(MediaSource source, string url, CancellationToken cancellationToken = default) =>
        Encoding.UTF8.GetString((await source.FetchAsync(MediaKind.Image, url, "field", null, cancellationToken)).Span);

    private async Task<DynamoError> RefusalAsync(string url, MediaSourceOptions? options = null)
    {
        using var source = Source(options ?? Internal);
        return (await Assert.ThrowsAsync<RequestFailedException>(() => FetchAsync(source, url).WaitAsync(Limit))).Error;
    }

    private MediaSource Source(MediaSourceOptions options) => new(options, TimeProvider.System, _logs.For<MediaSource>());
}
