using System.Text;
using Dynamo.Vllm.Core.Embeddings;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.UnitTests.Core.Embeddings;

public sealed class EmbeddingHandlerTests
{
    private readonly PoolingEngineFake _engine = new();
    private readonly ResponsesFake _responses = new();

    [Theory]
    [InlineData("\"model\":\"alias\",", "alias")]
    [InlineData("\"model\":\"\",", "served")]
    [InlineData("", "served")]
    public async Task A_body_of_the_client_s_is_answered_in_OpenAI_s_form(string model, string named)
    {
        var run = Start($$"""{{{model}}"input":["a","b"],"encoding_format":"float"}""", out _);
        _engine.Answer(5, [1f, -0.5f], [0f, 2f]);
        await run;
        Assert.Equal(
            """{"object":"list","data":[{"object":"embedding","embedding":"AACAPwAAAL8=","index":0},{"object":"embedding","embedding":"AAAAAAAAAEA=","index":1}],"model":"NAME","usage":{"prompt_tokens":5,"total_tokens":5}}""".Replace(
                "NAME",
                named,
                StringComparison.Ordinal
            ),
            Assert.Single(_responses.Items).ToJsonString()
        );
        Assert.Equal("r", Assert.Single(_engine.Requests).Id);
        Assert.Equal(["a", "b"], _engine.Requests[0].Request.Prompts.Texts!);
    }

    [Fact]
    public async Task A_body_of_the_frontend_s_is_answered_in_its_form()
    {
        var run = Start("""{"token_ids":[[1,2],[3]],"model":"m","encoding_format":"base64","dimensions":2}""", out _);
        _engine.Answer(3, [1f, -0.5f], [0f, 2f]);
        await run;
        Assert.Equal(
            """{"embeddings":["AACAPwAAAL8=","AAAAAAAAAEA="],"prompt_tokens":3,"total_tokens":3}""",
            Assert.Single(_responses.Items).ToJsonString()
        );
    }

    [Fact]
    public async Task Base64_is_not_escaped()
    {
        var run = Start("""{"input":"a"}""", out _);
        _engine.Answer(1, [BitConverter.Int32BitsToSingle(unchecked((int)0xfefbefbe)), float.NaN]);
        await run;
        var sent = _responses.Items[0]["data"]![0]!["embedding"]!.GetValue<string>();
        Assert.Equal("vu/7/gAAwP8=", sent);
    }

    [Fact]
    public async Task More_tokens_than_the_model_takes_never_reach_the_engine()
    {
        var tokens = string.Join(',', Enumerable.Repeat('7', 101));
        var error = await RefusedAsync($$"""{"token_ids":[[1],[{{tokens}}]]}""");
        Assert.Equal("prompt 1 of token_ids holds 101 token ids, above the limit 100, the context of the model", error.PublicMessage);
        Assert.Empty(_engine.Requests);
        Assert.Empty(_responses.Items);
    }

    [Fact]
    public async Task A_model_without_vectors_of_the_length_that_was_asked_for_is_named()
    {
        var run = Start("""{"input":"a","dimensions":3}""", out _);
        _engine.Answer(1, [1f, 2f]);
        var error = (await Assert.ThrowsAsync<RequestFailedException>(() => run)).Error;
        Assert.Equal("dimensions is 3, above the limit 2, the length of the model's vectors", error.PublicMessage);
        Assert.Empty(_responses.Items);
    }

    [Fact]
    public async Task What_the_engine_refuses_reaches_the_caller()
    {
        var run = Start("""{"input":"a"}""", out _);
        _engine.Fail(new RequestFailedException(DynamoError.Http(400, "no")));
        Assert.Equal("request.invalid", (await Assert.ThrowsAsync<RequestFailedException>(() => run)).Error.Reason);
    }

    [Theory]
    [InlineData(CancellationCause.Stop)]
    [InlineData(CancellationCause.Kill)]
    [InlineData(CancellationCause.Disconnect)]
    public async Task A_caller_who_leaves_ends_the_request_without_an_item(CancellationCause cause)
    {
        var run = Start("""{"input":"a"}""", out var context);
        context.Cancel(cause);
        await run;
        Assert.Empty(_responses.Items);
    }

    [Fact]
    public async Task What_runs_when_the_worker_leaves_gets_the_error_that_lets_it_migrate()
    {
        var run = Start("""{"input":"a"}""", out var context);
        context.Cancel(CancellationCause.Shutdown);
        var error = (await Assert.ThrowsAsync<RequestFailedException>(() => run)).Error;
        Assert.Equal(("backend.engine_shutdown", "Engine was shut down during embedding."), (error.Reason, error.Message));
        Assert.True(MigratableReasons.Contains(error.Reason));
    }

    [Fact]
    public async Task The_memory_of_the_body_is_given_back_before_the_engine_has_answered()
    {
        var released = 0;
        var body = Encoding.UTF8.GetBytes("""{"input":"a"}""");
        var context = new RequestContext("r", PayloadCodec.Json, body, new Dictionary<string, string>(), () => released++);
        var run = new EmbeddingHandler(_engine, "served").HandleAsync(context, _responses);
        Assert.Equal(1, released);
        _engine.Answer(1, [1f]);
        await run;
    }

    private Task Start(string body, out RequestContext context)
    {
        context = new RequestContext("r", PayloadCodec.Json, Encoding.UTF8.GetBytes(body), new Dictionary<string, string>());
        return new EmbeddingHandler(_engine, "served").HandleAsync(context, _responses);
    }

    private async Task<DynamoError> RefusedAsync(string body) =>
        (await Assert.ThrowsAsync<RequestFailedException>(() => Start(body, out _))).Error;
}
