using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Multimodal;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.UnitTests.Protocol.Multimodal;

/// <summary>Media of a request are read as the frontend sends them, and what could not be served is named.</summary>
public sealed class MultimodalInputTests
{
    [Theory]
    [InlineData("http_image", MediaKind.Image, "http://127.0.0.1:9000/red.png", null)]
    [InlineData("data_image", MediaKind.Image, "data:image/png;base64,iVBOR", "22ff6f52c523f096")]
    [InlineData("video_url", MediaKind.Video, "http://127.0.0.1:9000/red.png", null)]
    [InlineData("audio_url", MediaKind.Audio, "http://127.0.0.1:9000/red.png", null)]
    public void Requests_of_the_frontend_are_read(string name, MediaKind kind, string url, string? hash)
    {
        var input = Parse(Golden.Json("llm/multimodal-requests.json")[name]!);
        Assert.True(input.HasData);
        Assert.False(input.IsHarmless);
        Assert.Equal(1, input.Count);
        var item = Assert.Single(input[kind]);
        Assert.Equal(MediaForm.Url, item.Form);
        Assert.StartsWith(url, item.Url, StringComparison.Ordinal);
        Assert.Equal(hash is null ? null : [hash], input.ImageHashes);
    }

    [Fact]
    public void Images_keep_the_order_of_the_message()
    {
        var images = Parse(Golden.Json("llm/multimodal-requests.json")["two_images"]!)[MediaKind.Image];
        Assert.Equal(["http://127.0.0.1:", "data:image/webp;b"], images.Select(image => image.Url![..17]));
    }

    [Fact]
    public void What_goes_with_the_media_is_read()
    {
        var input = Parse(
            """
            {"token_ids":[1],
            "multi_modal_data":{"image_url":[{"Decoded":{}},{"UuidOnly":"u"},{"Url":"data:,","UuidOnly":"u"}],"other":5,"video_url":null},
            "multi_modal_uuids":{"image_url":["a",null,"c"]},"mm_processor_kwargs":{"min_pixels":5},
            "media_io_kwargs":{"image":1,"video":{"fps":2}},
            "image_cache_scope":" s ","extra_args":{"mm_hashes_by_modality":{"video":["00"]},"mm_processor_kwargs":{"other":1},
            "mm_kwargs_shm":{}},
            "prefill_result":{"disaggregated_params":{"kv_transfer_params":null,"embedding_params":{"a":[1]}}}}
            """
        );
        Assert.Equal([MediaForm.Decoded, MediaForm.UuidOnly, MediaForm.Url], input[MediaKind.Image].Select(image => image.Form));
        Assert.Empty(input[MediaKind.Video]);
        Assert.Equal(["a", null, "c"], input.Uuids!["image_url"]);
        Assert.Equal(["00"], input.HashesByModality!["video"]);
        Assert.Equal(
            ("""{"min_pixels":5}""", """{"fps":2}""", "s", """{"a":[1]}"""),
            (Text(input.ProcessorOptionsJson), Text(input.VideoOptionsJson), input.CacheScope, Text(input.EmbeddingParamsJson))
        );
        Assert.True(input.HasProcessedMedia);
    }

    [Theory]
    [InlineData("""{"token_ids":[1]}""", true)]
    [InlineData("""{"token_ids":[1],"multi_modal_data":null,"multi_modal_uuids":null}""", true)]
    [InlineData("""{"token_ids":[1],"mm_processor_kwargs":{}}""", true)]
    [InlineData("""{"token_ids":[1],"multi_modal_data":{}}""", false)]
    [InlineData("""{"token_ids":[1],"multi_modal_uuids":{}}""", false)]
    [InlineData("""{"token_ids":[1],"extra_args":{"mm_kwargs_nixl":{}}}""", false)]
    public void Only_media_need_a_worker_that_takes_them(string body, bool isHarmless) =>
        Assert.Equal(
            isHarmless,
            PreprocessedRequestParser.Parse(Encoding.UTF8.GetBytes(body), PayloadCodec.Json).Multimodal?.IsHarmless ?? true
        );

    [Theory]
    [InlineData("""{"multi_modal_data":[]}""", "multi_modal_data is of type Array, must be an object")]
    [InlineData("""{"multi_modal_data":{"image_url":{}}}""", "multi_modal_data.image_url is of type Map, must be an array")]
    [InlineData("""{"multi_modal_data":{"image_url":["x"]}}""", "multi_modal_data.image_url[0] is of type String, must be an object")]
    [InlineData(
        """{"multi_modal_data":{"image_url":[{"Url":5}]}}""",
        "multi_modal_data.image_url[0].Url is of type Integer, must be a string"
    )]
    [InlineData(
        """{"multi_modal_data":{"audio_url":[{"X":"y"}]}}""",
        "multi_modal_data.audio_url[0] has none of the keys Url, Decoded and UuidOnly"
    )]
    [InlineData(
        """{"multi_modal_uuids":{"image_url":[""]}}""",
        "multi_modal_uuids.image_url[0] has 0 characters, must have 1 to 1024, or be null"
    )]
    [InlineData("""{"multi_modal_uuids":{"image_url":[5]}}""", "multi_modal_uuids.image_url[0] is of type Integer, must be a string")]
    [InlineData("""{"mm_processor_kwargs":[1]}""", "mm_processor_kwargs is of type Array, must be an object")]
    [InlineData("""{"media_io_kwargs":{"video":3}}""", "media_io_kwargs.video is of type Integer, must be an object")]
    public void What_cannot_be_read_is_named(string body, string problem) =>
        Assert.Equal(problem, Assert.Throws<ProtocolException>(() => Parse(body)).Message);

    [Fact]
    public void Media_of_one_request_are_limited_in_number()
    {
        var many = string.Join(',', Enumerable.Repeat("""{"Url":"data:,"}""", Limits.MediaItemsMax));
        Assert.Equal(Limits.MediaItemsMax, Parse($$$"""{"multi_modal_data":{"image_url":[{{{many}}}]}}""").Count);
        var exception = Assert.Throws<ProtocolException>(() =>
            Parse($$$"""{"multi_modal_data":{"image_url":[{{{many}}}],"video_url":[{"Url":"data:,"}]}}""")
        );
        Assert.Equal("multi_modal_data.video_url makes it more than 1024 media, the limit of one request", exception.Message);
    }

    private static MultimodalInput Parse(JsonNode body) => Parse(body.ToJsonString());

    private static MultimodalInput Parse(string body) =>
        PreprocessedRequestParser.Parse(Encoding.UTF8.GetBytes(body), PayloadCodec.Json).Multimodal!;

    private static string? Text(ReadOnlyMemory<byte>? json) => json is { } bytes ? Encoding.UTF8.GetString(bytes.Span) : null;
}
