using System.Text;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Protocol.Responses;
using Dynamo.Vllm.Worker.GatewayGrpc;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Google.Protobuf;

namespace Dynamo.Vllm.UnitTests.Worker.GatewayGrpc;

public sealed class AnswerBuilderTests
{
    private static readonly JsonFormatter Json = new(JsonFormatter.Settings.Default.WithPreserveProtoFieldNames(true));

    [Fact]
    public async Task A_stream_tells_its_last_output_twice()
    {
        var messages = await StreamAsync([Output([7]), Output([8], FinishReason.Length)]);
        Assert.Equal(
            [
                """{ "chunk": { "token_ids": [ 7 ], "prompt_tokens": 3, "completion_tokens": 1, "cached_tokens": 2 } }""",
                """{ "chunk": { "token_ids": [ 8 ], "prompt_tokens": 3, "completion_tokens": 1, "cached_tokens": 2 } }""",
                """{ "complete": { "output_ids": [ 8 ], "finish_reason": "length", "prompt_tokens": 3, "completion_tokens": 1, "cached_tokens": 2 } }""",
            ],
            messages
        );
    }

    [Fact]
    public async Task Who_waits_for_all_gets_one_message_of_each_choice_in_their_order()
    {
        var messages = new List<string>();
        var caller = new WholeCaller(Keep(messages), CancellationToken.None);
        caller.Expect(Builder(new PreprocessedRequest()));
        foreach (
            var output in (EngineOutput[])
                [Output([7], index: 1), Output([5], FinishReason.Length), Output([8, 9], FinishReason.Length, index: 1, isLast: true)]
        )
        {
            await caller.WriteAsync(output);
        }

        Assert.Equal(
            [
                """{ "complete": { "output_ids": [ 5 ], "finish_reason": "length", "prompt_tokens": 3, "completion_tokens": 1, "cached_tokens": 2 } }""",
                """{ "complete": { "output_ids": [ 7, 8, 9 ], "finish_reason": "length", "prompt_tokens": 3, "completion_tokens": 3, "cached_tokens": 2, "index": 1 } }""",
            ],
            messages
        );
    }

    [Theory]
    [InlineData("300", "\"matched_token_id\": 300")]
    [InlineData("\"e\"", "\"matched_stop_str\": \"e\"")]
    public async Task A_stop_names_what_stopped_it(string reason, string told)
    {
        var output = Output([7], FinishReason.Stop);
        output.StopReasonJson = Encoding.UTF8.GetBytes(reason);
        var end = (await StreamAsync([output]))[^1];
        Assert.Contains(told, end, StringComparison.Ordinal);
        Assert.Contains("\"finish_reason\": \"stop\"", end, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(FinishReason.Stop, "stop")]
    [InlineData(FinishReason.Repetition, "stop")]
    [InlineData(FinishReason.Abort, "abort")]
    public async Task Each_end_has_its_word_and_the_model_s_own_names_nothing(FinishReason finish, string word) =>
        Assert.Equal(
            $$"""{ "complete": { "finish_reason": "{{word}}", "prompt_tokens": 3, "cached_tokens": 2 } }""",
            (await StreamAsync([Output([], finish)]))[^1]
        );

    [Fact]
    public async Task Logprobs_are_as_many_as_were_asked_for_with_the_token_s_own_first()
    {
        var output = Output([176]);
        output.Logprobs = [new TokenLogprobs(-6.5, [Candidate(176, 2, -6.5), Candidate(9, 1, -6.25), Candidate(8, 3, -7)])];
        output.PromptLogprobsJson = """[null,{"435":{"logprob":-7.5,"rank":9},"3":{"logprob":-1,"rank":1}}]"""u8.ToArray();
        var request = new PreprocessedRequest
        {
            TokenIds = [3, 435],
            Logprobs = 2,
            PromptLogprobs = 1,
        };
        Assert.Equal(
            """
            { "chunk": { "token_ids": [ 176 ], "prompt_tokens": 3, "completion_tokens": 1, "cached_tokens": 2, "output_logprobs": { "token_logprobs": [ -6.5 ], "token_ids": [ 176 ], "top_logprobs": [ { "values": [ -6.5, -6.25 ], "token_ids": [ 176, 9 ] } ] }, "input_logprobs": { "token_logprobs": [ { }, { "value": -7.5 } ], "token_ids": [ 3, 435 ], "top_logprobs": [ { }, { "values": [ -7.5 ], "token_ids": [ 435 ] } ] } } }
            """.Trim(),
            Assert.Single(await StreamAsync([output], request))
        );
    }

    [Fact]
    public async Task Those_of_the_prompt_come_once()
    {
        var later = Output([7]);
        later.PromptLogprobsJson = "[]"u8.ToArray();
        Assert.DoesNotContain("input_logprobs", Assert.Single(await StreamAsync([later])), StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_a_connector_leaves_for_another_engine_is_told_in_both_forms_where_it_is_a_place()
    {
        var output = Output([7], FinishReason.Length);
        output.KvTransferParamsJson = """{"remote_host":"h","remote_port":5600,"x":[1]}"""u8.ToArray();
        var end = (await StreamAsync([output]))[^1];
        Assert.Contains(""""kv_transfer_params": { "remote_host": "h", "remote_port": 5600 }"""", end, StringComparison.Ordinal);
        output.KvTransferParamsJson = """{"remote_port":"5600"}"""u8.ToArray();
        end = (await StreamAsync([output]))[^1];
        Assert.DoesNotContain("\"kv_transfer_params\"", end, StringComparison.Ordinal);
        Assert.Contains("\"kv_transfer_params_json\": \"{\\\"remote_port\\\":\\\"5600\\\"}\"", end, StringComparison.Ordinal);
    }

    private static TopLogprob Candidate(int token, int rank, double logprob) => new(token, rank, logprob, default);

    private static async Task<List<string>> StreamAsync(EngineOutput[] outputs, PreprocessedRequest? request = null)
    {
        var messages = new List<string>();
        var caller = new StreamCaller(Keep(messages), CancellationToken.None);
        caller.Expect(Builder(request ?? new PreprocessedRequest()));
        foreach (var output in outputs)
        {
            await caller.WriteAsync(output);
        }

        return messages;
    }

    private static Func<GenerateResponse, bool, Task> Keep(List<string> messages) =>
        (message, _) =>
        {
            messages.Add(Json.Format(message));
            return Task.CompletedTask;
        };

    private static AnswerBuilder Builder(PreprocessedRequest request) => new(new GatewayRequest(request, Text: null));

    private static EngineOutput Output(int[] tokens, FinishReason finish = FinishReason.None, int index = 0, bool isLast = false)
    {
        var output = new EngineOutput();
        output.Reset(index, finish, promptTokens: 3, cachedTokens: 2, isLast);
        output.Append(tokens);
        return output;
    }
}
