using System.Text;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Multimodal;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Multimodal;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.UnitTests.Core.ImageEncoding;

namespace Dynamo.Vllm.UnitTests.Core.Multimodal;

/// <summary>What the engine is shown of a request, by role and family of the model.</summary>
public sealed class MediaLoaderTests
{
    private const string Both =
        """{"multi_modal_data":{"image_url":[{"Url":"i0"},{"Url":"i1"}],"video_url":[{"Url":"v0"}]},"image_cache_scope":"s"}""";

    private const string HandedOver = """,{"prefill_result":{"disaggregated_params":{"embedding_params":{"image_grid_thw":[[1,2,2]]}}}}""";

    private readonly MediaSourceFake _source = new();

    [Fact]
    public async Task All_media_are_fetched_and_keep_their_order()
    {
        var media = await LoadAsync(Both, MediaRole.Aggregated);
        Assert.Equal(["Image i0", "Image i1", "Video v0"], Shown(media));
        Assert.Equal(
            [
                "Image multi_modal_data.image_url[0] i0 s",
                "Image multi_modal_data.image_url[1] i1 s",
                "Video multi_modal_data.video_url[0] v0 s",
            ],
            _source.Asked.Order()
        );
        Assert.False(media!.IsHandedOver);
    }

    [Theory]
    [InlineData("""{"mm_processor_kwargs":{"a":1}}""")]
    [InlineData("""{"multi_modal_data":{}}""")]
    [InlineData("""{"multi_modal_data":{"image_url":[]},"multi_modal_uuids":{"image_url":["a"]}}""")]
    public async Task Without_media_there_is_nothing_to_show(string body) => Assert.Null(await LoadAsync(body, MediaRole.Aggregated));

    [Theory]
    [InlineData("""{"image_url":[{"Url":"a"},{"Url":"b"},{"Url":"c"}]}""", "multi_modal_data.image_url holds 3: At most 2 image(s) may be")]
    [InlineData("""{"audio_url":[{"Url":"a"}]}""", "multi_modal_data.audio_url holds 1: At most 0 audio(s) may be provided in one prompt.")]
    [InlineData("""{"image_url":[{"Url":"a"},{"Decoded":{}}]}""", "multi_modal_data.image_url[1] was decoded by the frontend")]
    [InlineData("""{"video_url":[{"UuidOnly":"a"}]}""", "multi_modal_data.video_url[0] has no URL")]
    public async Task What_cannot_be_shown_is_refused_before_anything_is_fetched(string data, string problem)
    {
        var failure = await Assert.ThrowsAsync<RequestFailedException>(() =>
            LoadAsync($$$"""{"multi_modal_data":{{{data}}}}""", MediaRole.Aggregated)
        );
        Assert.StartsWith(problem, failure.Error.PublicMessage, StringComparison.Ordinal);
        Assert.Equal(DynamoError.InvalidRequestClass, failure.Error.Class);
        Assert.Empty(_source.Asked);
    }

    [Fact]
    public async Task The_first_that_fails_ends_the_others()
    {
        var load = LoadAsync("""{"multi_modal_data":{"image_url":[{"Url":"never:"},{"Url":"bad:"}]}}""", MediaRole.Aggregated);
        var failure = await Assert.ThrowsAsync<RequestFailedException>(() => load);
        Assert.Equal("UnsupportedMedia", failure.Error.Class);
        Assert.Equal(1, _source.Ended);
    }

    [Fact]
    public async Task A_caller_who_leaves_ends_the_fetches()
    {
        using var leaving = new CancellationTokenSource();
        var load = LoadAsync("""{"multi_modal_data":{"image_url":[{"Url":"never:"}]}}""", MediaRole.Aggregated, token: leaving.Token);
        await _source.Waiting.Task;
        await leaving.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => load);
        Assert.Equal(1, _source.Ended);
    }

    [Fact]
    public async Task With_encode_workers_images_are_theirs_and_the_rest_is_fetched_here()
    {
        var encoders = new EncodeWorkersFake();
        var media = await Loader(MultimodalFacts.QwenFamily, encoders).LoadAsync(Parse(Both), MediaRole.Aggregated, "r", default);
        Assert.Equal(["Video v0"], Shown(media));
        Assert.Equal(2, media!.Encoded!.Count);
        var asked = Assert.Single(encoders.Asked);
        Assert.Equal(("r", "s", "i0 i1"), (asked.RequestId, asked.CacheScope, string.Join(' ', asked.Urls)));
    }

    [Fact]
    public async Task An_image_that_the_engine_has_in_its_cache_is_not_for_encode_workers()
    {
        var encoders = new EncodeWorkersFake();
        var body = """{"multi_modal_data":{"image_url":[{"Url":"i0"},{"UuidOnly":"a"}]}}""";
        var media = await Loader(MultimodalFacts.QwenFamily, encoders).LoadAsync(Parse(body), MediaRole.Aggregated, "r", default);
        Assert.Equal(2, media!.Items.Count);
        Assert.Empty(encoders.Asked);
    }

    [Fact]
    public async Task A_prefill_worker_asks_for_what_is_handed_over() =>
        Assert.True((await LoadAsync(Both, MediaRole.Prefill, MultimodalFacts.QwenFamily))!.IsHandedOver);

    [Fact]
    public async Task A_decode_worker_of_the_qwen_family_takes_the_grid_in_place_of_the_images()
    {
        var media = await LoadAsync(Merge(Both, HandedOver), MediaRole.Decode, MultimodalFacts.QwenFamily);
        Assert.Equal(["Video v0"], Shown(media));
        Assert.Equal("""{"image_grid_thw":[[1,2,2]]}""", Encoding.UTF8.GetString(media!.EmbeddingParamsJson!.Value.Span));
        Assert.Null(Loader(MultimodalFacts.QwenFamily).FindMissingHandOver(Parse(Merge(Both, HandedOver)), hasPrefillResult: true));
    }

    [Theory]
    [InlineData(false, "error: Decode worker received multimodal request without prefill result")]
    [InlineData(true, "error: Prefill did not produce required multimodal embedding metadata (image_grid_thw) for Qwen-VL decode")]
    public void Without_the_grid_a_decode_worker_of_the_qwen_family_cannot_serve(bool hasPrefillResult, string problem)
    {
        Assert.Equal(problem, Loader(MultimodalFacts.QwenFamily).FindMissingHandOver(Parse(Both), hasPrefillResult));
        Assert.Null(Loader("llava").FindMissingHandOver(Parse(Both), hasPrefillResult));
    }

    [Fact]
    public async Task A_decode_worker_of_another_family_is_shown_the_media_once_more()
    {
        var media = await LoadAsync(Merge(Both, HandedOver), MediaRole.Decode, "llava");
        Assert.Equal(3, media!.Items.Count);
        Assert.Null(media.EmbeddingParamsJson);
    }

    [Fact]
    public async Task Without_its_media_a_decode_worker_takes_the_prompt_of_the_prefill_worker()
    {
        var media = await LoadAsync(
            """{"prefill_result":{"disaggregated_params":{"embedding_params":{"expanded_prompt_token_ids":[5]}}}}""",
            MediaRole.Decode
        );
        Assert.Empty(media!.Items);
        Assert.NotNull(media.EmbeddingParamsJson);
    }

    [Theory]
    [InlineData("""{"multi_modal_uuids":{"image_url":["a",null]},"extra_args":{"mm_hashes":["0123456789abcdef"]}}""", "image: a, null")]
    [InlineData("""{"multi_modal_uuids":{"image_url":[null]}}""", "")]
    [InlineData("""{"extra_args":{"mm_hashes":["0123456789abcdefFF",null]}}""", "image: 0123456789abcdef+48, null")]
    [InlineData(
        """{"extra_args":{"mm_hashes":["0"],"mm_hashes_by_modality":{"image":[],"video":["0123456789ABCDEF"]}}}""",
        "video: 0123456789ABCDEF+48"
    )]
    public async Task Ids_are_the_clients_else_the_routers(string fields, string expected)
    {
        var media = await LoadAsync(Merge(Both, "," + fields), MediaRole.Aggregated);
        var zeros = new string('0', 48);
        var shown = media!.Uuids?.Select(pair => $"{pair.Key}: {string.Join(", ", pair.Value.Select(id => id ?? "null"))}") ?? [];
        Assert.Equal(expected, string.Join("; ", shown).Replace(zeros, "+48", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_routing_hash_that_is_none_is_refused() =>
        Assert.Contains(
            "must start with 16 hex characters",
            (
                await Assert.ThrowsAsync<ProtocolException>(() =>
                    LoadAsync(Merge(Both, """,{"extra_args":{"mm_hashes":["0123456789abcdeX"]}}"""), MediaRole.Aggregated)
                )
            ).Message,
            StringComparison.Ordinal
        );

    private Task<EngineMedia?> LoadAsync(string body, MediaRole role, string? family = null, CancellationToken token = default) =>
        Loader(family).LoadAsync(Parse(body), role, "r", token);

    private MediaLoader Loader(string? family, EncodeWorkersFake? encoders = null) =>
        new(
            _source,
            new EngineDescription
            {
                EngineVersion = "0",
                Model = "m",
                MaxModelLength = 100,
                BlockSize = 16,
                KvEventBlockSize = 16,
                MaxNumSeqs = 8,
                MaxNumBatchedTokens = 100,
                Multimodal = new MultimodalFacts
                {
                    Family = family,
                    Limits = new Dictionary<string, int> { ["image"] = 2, ["audio"] = 0 },
                },
            },
            encoders
        );

    private static IEnumerable<string> Shown(EngineMedia? media) =>
        media!.Items.Select(item => $"{item.Kind} {Encoding.UTF8.GetString(item.Bytes!.Value.Span)}");

    /// <summary>Two objects, the second behind a comma, as one.</summary>
    private static string Merge(string first, string second) => first[..^1] + "," + second[2..];

    private static MultimodalInput Parse(string body) =>
        PreprocessedRequestParser.Parse(Encoding.UTF8.GetBytes(body), PayloadCodec.Json).Multimodal!;
}
