using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.ImageEncoding;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.ImageEncoding;
using Dynamo.Vllm.UnitTests.Core.Multimodal;

namespace Dynamo.Vllm.UnitTests.Core.ImageEncoding;

/// <summary>The endpoint of an encode worker, and the words that it and its callers use.</summary>
public sealed class ImageEncodeHandlerTests
{
    /// <summary>As an official worker wrote it, less what is empty.</summary>
    private const string Official = """
        {"engine_prompt":{"prompt_token_ids":[]},"sampling_params":{"stop":[]},"request_id":"r","prefix_hit_rate":0.0,"model":null,
        "multimodal_inputs":[{"multimodal_input":{"image_url":"u0","video_url":null,"image_decoded":null},"image_grid_thw":null},
        {"multimodal_input":{"image_url":"u1"}}],"image_cache_scope":null}
        """;

    private readonly VisionEngineFake _engine = new();
    private readonly MediaSourceFake _source = new();
    private readonly ValueResponses _responses = new();

    [Fact]
    public async Task What_an_official_worker_asks_is_fetched_encoded_and_answered_in_one_text()
    {
        await AskAsync(JsonValue.Create(Official).ToJsonString());
        Assert.Equal(["u0 u1 "], _engine.Asked);
        var images = EncodeRequest.ParseAnswer(Assert.Single(_responses.Values));
        Assert.Equal(["u0", "u1"], images.Select(image => (string?)image.Transfer!["serialized_request"]));
        Assert.Equal("[[1,6,8]]", images[0].Grid!.ToJsonString());
    }

    [Fact]
    public async Task A_worker_of_ours_asks_in_the_same_words()
    {
        var request = new EncodeRequest("r", ["a", "b"], "s");
        await AskAsync(Encoding.UTF8.GetString(request.ToBodyJson()));
        Assert.Equal(["a b s"], _engine.Asked);
        Assert.Equal(2, EncodeRequest.ParseAnswer(_responses.Values[0]).Count);
    }

    [Theory]
    [InlineData("""{"request_id":"r"}""", "multimodal_inputs is missing, or no list")]
    [InlineData("""{"request_id":"r","multimodal_inputs":[{}]}""", "multimodal_inputs[0].multimodal_input is missing")]
    [InlineData(
        """{"request_id":"r","multimodal_inputs":[{"multimodal_input":{}}]}""",
        "multimodal_inputs[0].multimodal_input.image_url is"
    )]
    [InlineData(
        """{"request_id":"r","multimodal_inputs":[{"multimodal_input":{"image_decoded":{}}}]}""",
        "multimodal_inputs[0].multimodal_input.image_decoded was decoded by the frontend"
    )]
    [InlineData("""{"multimodal_inputs":[]}""", "request_id is missing")]
    [InlineData("\"{\"", "the text of the body is not JSON")]
    [InlineData("[]", "the body is no object")]
    public async Task A_body_that_is_none_is_refused_and_it_is_said_why(string body, string problem)
    {
        var refused = await Assert.ThrowsAsync<ProtocolException>(() => AskAsync(body));
        Assert.StartsWith(problem, refused.Message, StringComparison.Ordinal);
        Assert.Empty(_source.Asked);
    }

    [Fact]
    public async Task An_image_that_is_refused_ends_the_other_fetches_and_never_reaches_the_engine()
    {
        var body = Encoding.UTF8.GetString(new EncodeRequest("r", ["never:", "bad:"], null).ToBodyJson());
        var refused = await Assert.ThrowsAsync<RequestFailedException>(() => AskAsync(body));
        Assert.Equal(("UnsupportedMedia", 1), (refused.Error.Class, _source.Ended));
        Assert.Empty(_engine.Asked);
    }

    [Fact]
    public async Task A_caller_who_leaves_ends_the_fetch()
    {
        var context = Context(Encoding.UTF8.GetString(new EncodeRequest("r", ["never:"], null).ToBodyJson()));
        var run = new ImageEncodeHandler(_engine, _source).HandleAsync(context, _responses);
        await _source.Waiting.Task;
        context.Cancel(CancellationCause.Disconnect);
        await run;
        Assert.Equal((1, 0), (_source.Ended, _responses.Values.Count));
    }

    [Theory]
    [InlineData("""{"class":"UnsupportedMedia","public":{"message":"no image"}}""", "UnsupportedMedia", "no image")]
    [InlineData("""{"class":"UnsupportedMedia","message":"secret"}""", "UnsupportedMedia", "a medium of the request cannot be used")]
    [InlineData("""{"class":"InvalidRequest","reason":"x","message":"secret"}""", "InvalidRequest", null)]
    [InlineData("""{"class":"Internal","message":"m"}""", null, null)]
    [InlineData("\"text\"", null, null)]
    public void Only_what_the_client_can_mend_is_passed_on_to_it(string error, string? @class, string? shown)
    {
        var passed = PeerError.AsClientFault(JsonNode.Parse(error));
        Assert.Equal((@class, shown), (passed?.Class, passed?.PublicMessage));
    }

    private Task AskAsync(string body) => new ImageEncodeHandler(_engine, _source).HandleAsync(Context(body), _responses);

    private static RequestContext Context(string body) =>
        new("r", PayloadCodec.Json, Encoding.UTF8.GetBytes(body), new Dictionary<string, string>());
}
