using System.Text;
using Dynamo.Vllm.Core.Classification;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.UnitTests.Core.Embeddings;
using Microsoft.Extensions.Time.Testing;

namespace Dynamo.Vllm.UnitTests.Core.Classification;

public sealed class ClassificationHandlerTests
{
    private readonly PoolingEngineFake _engine = new()
    {
        Description = new ScriptedEngine().Description with
        {
            Labels = new Dictionary<int, string> { [0] = "no", [1] = "yes" },
        },
    };

    private readonly ResponsesFake _responses = new();
    private readonly FakeTimeProvider _time = new(DateTimeOffset.FromUnixTimeSeconds(1700000000));

    [Fact]
    public async Task The_likeliest_class_is_named()
    {
        var run = Start("""{"input":["a","b","c"],"request_id":"mine"}""", out _);
        _engine.Answer(6, [0.25f, 0.75f], [0.5f, 0.5f], [0f, 1f, 2f]);
        await run;
        Assert.Equal(
            """{"id":"classify-mine","object":"list","created":1700000000,"model":"served","data":[{"index":0,"label":"yes","probs":[0.25,0.75],"num_classes":2},{"index":1,"label":"no","probs":[0.5,0.5],"num_classes":2},{"index":2,"label":null,"probs":[0,1,2],"num_classes":3}],"usage":{"prompt_tokens":6,"total_tokens":6,"completion_tokens":0}}""",
            Assert.Single(_responses.Items).ToJsonString()
        );
    }

    [Theory]
    [InlineData("float", "[0.10000000149011612,-2]", null)]
    [InlineData("base64", "\"zczMPQAAAMA=\"", null)]
    [InlineData("bytes", "\"zczMPQAAAMA=\"", "[2]")]
    [InlineData("bytes_only", "\"zczMPQAAAMA=\"", null)]
    public async Task Vectors_are_numbers_or_bytes(string encoding, string data, string? shape)
    {
        var run = Start($$"""{"input":"a","model":"m","encoding_format":"{{encoding}}"}""", out _);
        _engine.Answer(3, [0.1f, -2f]);
        await run;
        var item = Assert.Single(_responses.Items);
        Assert.Equal(("pool-r", "m"), (item["id"]!.GetValue<string>(), item["model"]!.GetValue<string>()));
        var entry = item["data"]![0]!;
        Assert.Equal((data, shape), (entry["data"]!.ToJsonString(), entry["shape"]?.ToJsonString()));
        Assert.Equal("pooling", entry["object"]!.GetValue<string>());
    }

    [Fact]
    public async Task More_tokens_than_the_model_takes_never_reach_the_engine_unless_they_are_cut()
    {
        var tokens = string.Join(',', Enumerable.Repeat('7', 101));
        var error = (await Assert.ThrowsAsync<RequestFailedException>(() => Start($$"""{"input":[[1],[{{tokens}}]]}""", out _))).Error;
        Assert.Equal("prompt 1 of input holds 101 token ids, above the limit 100, the context of the model", error.PublicMessage);
        Assert.Empty(_engine.Classifications);
        _ = Start($$"""{"input":[{{tokens}}],"truncate_prompt_tokens":-1}""", out _);
        Assert.Single(_engine.Classifications);
    }

    [Theory]
    [InlineData(CancellationCause.Kill, null)]
    [InlineData(CancellationCause.Shutdown, "backend.engine_shutdown")]
    public async Task Who_leaves_gets_nothing_and_who_stays_the_error_that_lets_it_migrate(CancellationCause cause, string? reason)
    {
        var run = Start("""{"input":"a"}""", out var context);
        context.Cancel(cause);
        var failure = await Record.ExceptionAsync(() => run);
        Assert.Equal(reason, (failure as RequestFailedException)?.Error.Reason);
        Assert.Equal(reason is null, failure is null);
        Assert.Empty(_responses.Items);
    }

    private Task Start(string body, out RequestContext context)
    {
        context = new RequestContext("r", PayloadCodec.Json, Encoding.UTF8.GetBytes(body), new Dictionary<string, string>());
        return new ClassificationHandler(_engine, "served", _time).HandleAsync(context, _responses);
    }
}
