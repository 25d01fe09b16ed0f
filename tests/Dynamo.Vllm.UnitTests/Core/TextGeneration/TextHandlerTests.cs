using System.Text;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Core.TextGeneration;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Microsoft.Extensions.Time.Testing;

namespace Dynamo.Vllm.UnitTests.Core.TextGeneration;

public sealed class TextHandlerTests
{
    private readonly TextEngineFake _engine = new();
    private readonly ResponsesFake _responses = new();
    private readonly FakeTimeProvider _time = new(DateTimeOffset.FromUnixTimeSeconds(1700000000));

    [Fact]
    public async Task A_chat_is_answered_in_chunks_with_the_usage_at_the_end_of_a_choice()
    {
        var run = Start("""{"messages":[]}""", out _);
        _engine.Push("", [1]);
        _engine.Push("é\"\u0001漢", [2, 3]);
        _engine.Push("!", [4], FinishReason.Length, isLast: true);
        await run;
        const string head = """{"id":"r","created":1700000000,"object":"chat.completion.chunk","model":"unknown","choices":""";
        Assert.Equal(
            [
                head + """[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}""",
                head + """[{"index":0,"delta":{"role":"assistant","content":"\u00E9\u0022\u0001\u6F22"},"finish_reason":null}]}""",
                head
                    + """[{"index":0,"delta":{"role":"assistant","content":"!"},"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":0}}}""",
            ],
            _responses.Items.Select(item => item.ToJsonString())
        );
    }

    [Fact]
    public async Task A_completion_has_the_form_of_one_and_the_id_that_was_asked_for()
    {
        var run = Start("""{"prompt":"a","id":"mine"}""", out _);
        _engine.Push("b", [1], FinishReason.Stop, isLast: true);
        await run;
        Assert.Equal(
            """{"id":"mine","created":1700000000,"object":"text_completion","model":"unknown","choices":[{"index":0,"text":"b","finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4,"prompt_tokens_details":{"cached_tokens":0}}}""",
            Assert.Single(_responses.Items).ToJsonString()
        );
    }

    [Fact]
    public async Task The_last_usage_counts_the_tokens_of_all_choices()
    {
        var run = Start("""{"messages":[],"n":2}""", out _);
        _engine.Push("a", [1, 2], FinishReason.Stop, index: 1);
        _engine.Push("b", [3, 4, 5], FinishReason.Length, isLast: true, index: 0);
        await run;
        Assert.Equal([2, 5], _responses.Items.Select(item => item["usage"]!["completion_tokens"]!.GetValue<int>()));
        Assert.Equal([1, 0], _responses.Items.Select(item => item["choices"]![0]!["index"]!.GetValue<int>()));
    }

    [Fact]
    public async Task A_repetition_ends_a_choice_as_a_limit_does()
    {
        var run = Start("""{"messages":[]}""", out _);
        _engine.Push("a", [1], FinishReason.Repetition, isLast: true);
        await run;
        Assert.Equal("length", _responses.Items[0]["choices"]![0]!["finish_reason"]!.GetValue<string>());
    }

    [Theory]
    [InlineData(FinishReason.NoOutputs, "backend.unknown", "No outputs from vLLM engine")]
    [InlineData(FinishReason.Error, "backend.unknown", "the engine ended the choice with 'error'")]
    [InlineData(
        FinishReason.Abort,
        "backend.engine_shutdown",
        "The engine ended the request before it was complete: it was put to sleep, or paused."
    )]
    public async Task An_end_that_OpenAI_has_no_word_for_is_an_error(FinishReason finish, string reason, string message)
    {
        var run = Start("""{"messages":[]}""", out _);
        _engine.Push("", [], finish, isLast: true);
        var error = (await Assert.ThrowsAsync<RequestFailedException>(() => run)).Error;
        Assert.Equal((reason, message), (error.Reason, error.Message));
        Assert.True(_engine.Stream.IsAbandoned);
    }

    [Fact]
    public async Task A_stop_of_the_worker_ends_with_the_error_that_lets_the_request_migrate()
    {
        var run = Start("""{"messages":[]}""", out var context);
        _engine.Push("a", [1]);
        context.Cancel(CancellationCause.Shutdown);
        var error = (await Assert.ThrowsAsync<RequestFailedException>(() => run)).Error;
        Assert.Equal("backend.engine_shutdown", error.Reason);
        Assert.Single(_responses.Items);
        Assert.Equal(1, _engine.Stream.Aborts);
    }

    [Fact]
    public async Task A_caller_that_leaves_takes_its_request_out_of_the_engine()
    {
        var run = Start("""{"messages":[]}""", out var context);
        context.Cancel(CancellationCause.Disconnect);
        await run;
        Assert.Equal(1, _engine.Stream.Aborts);
        Assert.Empty(_responses.Items);
    }

    [Theory]
    [InlineData("[]", true, 0)]
    [InlineData("""["x-bypass-remote-prefill"]""", true, 1)]
    [InlineData("[]", false, 1)]
    public async Task A_decode_worker_s_engine_is_not_disturbed_before_its_first_output(string annotations, bool isDecode, int aborts)
    {
        var handler = new TextHandler(_engine, isDecode, null, _time);
        var run = handler.HandleAsync(Context($$"""{"messages":[],"annotations":{{annotations}}}""", out var context), _responses);
        context.Cancel(CancellationCause.Kill);
        Assert.Equal(aborts, _engine.Stream.Aborts);
        _engine.Push("a", [1]);
        await run;
        Assert.Equal(1, _engine.Stream.Aborts);
    }

    [Fact]
    public async Task What_is_an_encoder_s_result_or_too_long_never_reaches_the_engine()
    {
        await Start("""{"prompt":"x","encoder_result":{}}""", out _);
        Assert.Equal(
            """{"index":0,"token_ids":[],"finish_reason":"error: external encoder results require token-in/token-out mode"}""",
            Assert.Single(_responses.Items).ToJsonString()
        );
        var tokens = string.Join(',', Enumerable.Repeat('7', 101));
        var error = (await Assert.ThrowsAsync<RequestFailedException>(() => Start($$"""{"prompt":[{{tokens}}]}""", out _))).Error;
        Assert.Equal("request.invalid", error.Reason);
        Assert.Empty(_engine.Requests);
    }

    private Task Start(string body, out RequestContext context) =>
        new TextHandler(_engine, isDecodeWorker: false, null, _time).HandleAsync(Context(body, out context), _responses);

    private static RequestContext Context(string body, out RequestContext context) =>
        context = new RequestContext("r", PayloadCodec.Json, Encoding.UTF8.GetBytes(body), new Dictionary<string, string>());
}
