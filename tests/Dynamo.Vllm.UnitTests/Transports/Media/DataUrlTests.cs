using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Multimodal;
using Dynamo.Vllm.Transports.Media;

namespace Dynamo.Vllm.UnitTests.Transports.Media;

public sealed class DataUrlTests
{
    [Theory]
    [InlineData(MediaKind.Image, "data:image/png;base64,aGVsbG8=")]
    [InlineData(MediaKind.Image, "data:image/svg+xml;charset=x;base64,aGVsbG8=")]
    [InlineData(MediaKind.Video, "data:;base64,aGVsbG8%3D")]
    [InlineData(MediaKind.Audio, "data:audio/wav;base64,aGVsbG8=")]
    public void Base64_is_decoded(MediaKind kind, string url) => Assert.Equal("hello"u8.ToArray(), DataUrl.Decode(kind, url, "f", 100));

    [Theory]
    [InlineData("data:image/png;base64", "the data URL has no comma in front of its data")]
    [InlineData("data:text/plain;base64,aGVsbG8=", "the data URL's media type is none of an image")]
    [InlineData("data:image/png,hello", "the data URL must be base64 encoded")]
    [InlineData("data:image/png;base64,aGVs***", "the data URL's data are no valid base64")]
    [InlineData("data:image/png;base64,aGVs bG8=", "the data URL's data are no valid base64")]
    [InlineData("data:image/png;base64,aGVsbG8", "the data URL's data are no valid base64")]
    [InlineData("data:image/png;base64,aGVsbG8=ä", "the data URL's data are no valid base64")]
    [InlineData("data:image/png;base64,aGVsbG8%3D", "the data URL's data are no valid base64")]
    public void Anything_else_is_refused(string url, string problem) => Assert.Equal($"f: {problem}", Refusal(url, 100));

    [Fact]
    public void The_whole_url_is_limited()
    {
        const string url = "data:image/png;base64,aGVsbG8=";
        Assert.Equal(5, DataUrl.Decode(MediaKind.Image, url, "f", url.Length).Length);
        Assert.StartsWith(
            $"f: the data URL has {url.Length} bytes, above the limit {url.Length - 1}, which DYN_MM_MAX_DATA_URL_MB sets",
            Refusal(url, url.Length - 1),
            StringComparison.Ordinal
        );
    }

    private static string? Refusal(string url, int bytesMax) =>
        Assert.Throws<RequestFailedException>(() => DataUrl.Decode(MediaKind.Image, url, "f", bytesMax)).Error.PublicMessage;
}
