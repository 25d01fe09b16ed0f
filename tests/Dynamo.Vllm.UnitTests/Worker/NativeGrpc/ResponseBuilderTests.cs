using System.Text;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Protocol.Responses;
using Dynamo.Vllm.Worker.GrpcRequests;
using Dynamo.Vllm.Worker.NativeGrpc;
using Google.Protobuf;

namespace Dynamo.Vllm.UnitTests.Worker.NativeGrpc;

public sealed class ResponseBuilderTests
{
    private static readonly JsonFormatter Json = new(JsonFormatter.Settings.Default.WithPreserveProtoFieldNames(true));

    private static readonly AnswerForm Full = new(
        PromptTokens: true,
        new CandidateChoice(1, null),
        Text: true,
        Tokens: true,
        new CandidateChoice(2, null)
    );

    [Fact]
    public void Counts_are_of_the_message_and_at_the_end_of_all()
    {
        var builder = Builder(Full with { Candidates = null });
        Assert.Equal("""{ "text": "a", "num_tokens": 2, "token_ids": [ 7, 8 ] }""", Show(builder, Output([7, 8], "a")));
        Assert.Equal(
            """{ "num_tokens": 1, "token_ids": [ 9 ], "finish_info": { "num_output_tokens": 3, "finish_reason": "LENGTH" } }""",
            Show(builder, Output([9], "", FinishReason.Length))
        );
    }

    [Fact]
    public void Only_what_was_asked_for_is_told() =>
        Assert.Equal(
            """{ "num_tokens": 1 }""",
            Show(Builder(new AnswerForm(PromptTokens: false, null, Text: false, Tokens: false, null)), Output([7], "a"))
        );

    [Theory]
    [InlineData("300", "\"stop_token_id\": 300")]
    [InlineData("\"e\"", "\"stop_string\": \"e\"")]
    [InlineData(null, "\"eos_token_id\": 7")]
    public void A_stop_names_what_stopped_it(string? reason, string told)
    {
        var output = Output([7], "", FinishReason.Stop);
        if (reason is not null)
        {
            output.StopReasonJson = Encoding.UTF8.GetBytes(reason);
        }

        Assert.Contains(told, Show(Builder(Full), output), StringComparison.Ordinal);
    }

    [Fact]
    public void An_abort_ends_the_stream_with_no_token_and_the_count_so_far()
    {
        var builder = Builder(Full with { Candidates = null });
        Show(builder, Output([7], "a"));
        Assert.Equal(
            """{ "finish_info": { "num_output_tokens": 1, "finish_reason": "ABORTED" } }""",
            Show(builder, Output([], "", FinishReason.Abort))
        );
    }

    [Fact]
    public void What_a_prefill_left_for_the_connector_is_told_at_the_end()
    {
        var output = Output([7], "", FinishReason.Length);
        output.KvTransferParamsJson = """{"remote_block_ids":[1],"remote_host":"h"}"""u8.ToArray();
        Assert.Contains(
            "\"kv_transfer_params\": { \"remote_block_ids\": [ 1 ], \"remote_host\": \"h\" }",
            Show(Builder(Full), output),
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData(FinishReason.Error)]
    [InlineData(FinishReason.NoOutputs)]
    public void An_end_without_a_word_in_the_contract_is_an_error(FinishReason finish) =>
        Assert.Throws<RequestFailedException>(() => Show(Builder(Full), Output([7], "", finish)));

    [Fact]
    public void The_token_s_own_logprob_stands_beside_the_likeliest_ones()
    {
        var output = Output([7], "");
        output.Logprobs = [new TokenLogprobs(-3, [new(7, 9, -3, default), new(5, 1, -1, default), new(6, 2, -2, default)])];
        Assert.Equal(
            """{ "num_tokens": 1, "token_ids": [ 7 ], "logprobs": [ -3 ], "ranks": [ 9 ], "candidate_tokens": [ { "tokens": [ """
                + """{ "id": 5, "logprob": -1, "rank": 1 }, { "id": 6, "logprob": -2, "rank": 2 } ] } ] }""",
            Show(Builder(Full), output)
        );
    }

    [Fact]
    public void Of_a_prompt_the_first_token_has_no_logprob()
    {
        var output = Output([7], "");
        output.PromptLogprobsJson = """[null,{"2":{"logprob":-4.5,"rank":3},"8":{"logprob":-0.5,"rank":1}}]"""u8.ToArray();
        Assert.Equal(
            """{ "num_prompt_tokens": 2, "token_ids": [ 1, 2 ], "logprobs": [ 0, -4.5 ], "ranks": [ 0, 3 ], """
                + "\"candidate_tokens\": [ { }, { \"tokens\": [ { \"id\": 8, \"logprob\": -0.5, \"rank\": 1 } ] } ] }",
            Json.Format(Builder(Full).BuildPrompt(output))
        );
    }

    [Fact]
    public void The_tokens_of_a_text_are_those_that_the_engine_made_of_it()
    {
        var output = Output([7], "");
        output.PromptTokensJson = "[3,4]"u8.ToArray();
        Assert.Equal([3u, 4u], Builder(Full).BuildPrompt(output).TokenIds);
    }

    private static string Show(ResponseBuilder builder, EngineOutput output) => Json.Format(builder.Build(output));

    private static ResponseBuilder Builder(AnswerForm form) =>
        new(new NativeRequest(new PreprocessedRequest { TokenIds = [1, 2] }, Text: null, form));

    private static EngineOutput Output(int[] tokens, string text, FinishReason finish = FinishReason.None)
    {
        var output = new EngineOutput();
        output.Reset(index: 0, finish, promptTokens: 2, cachedTokens: 0, isLast: finish != FinishReason.None);
        output.Append(tokens);
        output.AppendText(Encoding.UTF8.GetBytes(text));
        return output;
    }
}
