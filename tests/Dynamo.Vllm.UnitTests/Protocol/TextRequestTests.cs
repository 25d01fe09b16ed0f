using System.Buffers;
using System.Text;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.UnitTests.Protocol;

/// <summary>Bodies of chats and completions as clients write them: what is read, and what is named that cannot be served.</summary>
public sealed class TextRequestTests
{
    [Fact]
    public void What_the_engine_acts_on_is_read_in_either_codec()
    {
        const string body = """
            {"stop":["a","é"],"messages":[{"role":"user","content":"hi","n":1.5}],"chat_template_args":{"b":2},"max_tokens":7,
             "min_tokens":1,
             "chat_template_kwargs":{"a":[1,null]},"ignore_eos":true,"temperature":0.5,"top_p":1,"top_k":3,"min_p":0.1,"n":2,"seed":-1,
             "presence_penalty":1,"frequency_penalty":-1,"repetition_penalty":2,"id":"i","request_id":"r","annotations":["x"],
             "nvext":{"cache_salt":"s","max_thinking_tokens":4},"routing":{"dp_rank":1,"priority":2},"agent_context":{"session_id":" t "},
             "logit_bias":{"x":"y"},"logprobs":"odd","stream":true}
            """;
        foreach (var request in Both(body))
        {
            Assert.Equal("""[{"role":"user","content":"hi","n":1.5}]""", Utf8(request.Prompt.MessagesJson!.Value));
            Assert.Equal(["""{"a":[1,null]}""", """{"b":2}"""], request.Prompt.TemplateVariablesJson.Select(Utf8));
            Assert.False(request.Prompt.IsCompletion);
            Assert.Equal(["a", "é"], request.StopStrings);
            var (sampling, stop) = (request.SamplingOptions, request.StopConditions);
            Assert.Equal((2, 0.5, 1.0, 3), (sampling.N, sampling.Temperature, sampling.TopP, sampling.TopK));
            Assert.Equal((0.1, -1L, 1.0, -1.0), (sampling.MinP, sampling.Seed, sampling.PresencePenalty, sampling.FrequencyPenalty));
            Assert.Equal(2.0, sampling.RepetitionPenalty);
            Assert.Null(sampling.LogitBias);
            Assert.Equal((7, 1, true, 4), (stop.MaxTokens, stop.MinTokens, stop.IgnoreEos, stop.MaxThinkingTokens));
            Assert.Equal(("i", "s", "t"), (request.Id, request.CacheSalt, request.SessionId));
            Assert.Equal((1, 2), (request.Routing.DataParallelRank, request.Routing.Priority));
            Assert.Equal(["x"], request.Annotations);
        }
    }

    [Theory]
    [InlineData("""{"prompt":"a"}""", "a", "", true)]
    [InlineData("""{"prompt":["a"],"text":"b"}""", "a", "", true)]
    [InlineData("""{"prompt":[1,2]}""", null, "1,2", true)]
    [InlineData("""{"prompt":[[1,2]]}""", null, "1,2", true)]
    [InlineData("""{"prompt":[]}""", null, "", true)]
    [InlineData("""{"text":"a","prompt":null,"messages":null}""", "a", "", false)]
    public void A_prompt_is_text_or_token_ids(string body, string? text, string ids, bool isCompletion)
    {
        foreach (var request in Both(body))
        {
            Assert.Equal((text, isCompletion), (request.Prompt.Text, request.Prompt.IsCompletion));
            Assert.Equal(ids, string.Join(',', request.Prompt.TokenIds));
            Assert.Null(request.Prompt.MessagesJson);
        }
    }

    [Theory]
    [InlineData("""{"request_id":"r","text":"a"}""", "r", null, null)]
    [InlineData(
        """{"text":"a","nvext":{"cache_salt":""},"extra_args":{"nvext":{"cache_salt":"e","max_thinking_tokens":1}}}""",
        null,
        "e",
        null
    )]
    [InlineData("""{"text":"a","thinking_token_budget":2,"nvext":{"max_thinking_tokens":1}}""", null, null, 2)]
    public void Of_several_places_the_first_that_says_something_counts(string body, string? id, string? salt, int? budget)
    {
        var request = TextRequestParser.Parse(Encoding.UTF8.GetBytes(body), PayloadCodec.Json);
        Assert.Equal((id, salt, budget), (request.Id, request.CacheSalt, request.StopConditions.MaxThinkingTokens));
    }

    [Theory]
    [InlineData("[]", "request body is not a map")]
    [InlineData("{}", "No input parameter found in request: it holds neither messages nor prompt nor text")]
    [InlineData("""{"messages":5}""", "messages is of type Integer, must be an array")]
    [InlineData("""{"messages":[{},"a"]}""", "messages[1] is of type String, must be an object")]
    [InlineData("""{"prompt":true}""", "prompt is true, must be a string or an array of token ids")]
    [InlineData("""{"prompt":["a","b"]}""", "prompt holds 2 prompts, above the limit 1")]
    [InlineData("""{"prompt":[1,"a"]}""", "prompt[1] is of type String, must be an integer token id")]
    [InlineData("""{"prompt":[{}]}""", "prompt[0] is of type Map, must be an array")]
    [InlineData("""{"text":5}""", "text is of type Integer, must be a string")]
    [InlineData(
        """{"messages":[],"chat_template_kwargs":{"chat_template":"x"}}""",
        "`chat_template` is not supported inside `chat_template_kwargs`"
    )]
    [InlineData("""{"messages":[],"chat_template_args":[]}""", "chat_template_args is of type Array, must be an object")]
    [InlineData("""{"text":"a","stop":[5]}""", "stop[0] is of type Integer, must be a string")]
    [InlineData("""{"text":"a","temperature":"x"}""", "temperature is of type String, must be a number")]
    [InlineData("""{"text":"a","max_tokens":1.5}""", "max_tokens is 1.5, which is not an integer")]
    public void What_cannot_be_served_is_named(string body, string problem)
    {
        foreach (var codec in (PayloadCodec[])[PayloadCodec.Json, PayloadCodec.MessagePack])
        {
            var exception = Assert.Throws<ProtocolException>(() => TextRequestParser.Parse(Encode(body, codec), codec));
            Assert.Equal(problem, exception.Message);
        }
    }

    [Fact]
    public void Prompts_and_stops_are_bounded()
    {
        var longest = new string('x', Limits.TextPromptBytesMax);
        Refused($$"""{"prompt":"{{longest}}"}""", "prompt takes");
        Refused($$"""{"messages":[{"content":"{{longest}}"}]}""", "messages takes");
        Refused(
            $$"""{"text":"a","stop":[{{string.Join(',', Enumerable.Repeat("\"a\"", 257))}}]}""",
            "stop holds 257 texts, above the limit 256"
        );
        Refused($$"""{"text":"a","stop":"{{new string('x', Limits.StopStringBytesMax)}}"}""", "stop takes");

        static void Refused(string body, string problem)
        {
            var exception = Assert.Throws<ProtocolException>(() =>
                TextRequestParser.Parse(Encode(body, PayloadCodec.Json), PayloadCodec.Json)
            );
            Assert.StartsWith(problem, exception.Message, StringComparison.Ordinal);
        }
    }

    private static IEnumerable<TextRequest> Both(string body) =>
        new[] { PayloadCodec.Json, PayloadCodec.MessagePack }.Select(codec => TextRequestParser.Parse(Encode(body, codec), codec));

    private static byte[] Encode(string body, PayloadCodec codec)
    {
        var json = Encoding.UTF8.GetBytes(body);
        if (codec == PayloadCodec.Json)
        {
            return json;
        }

        var packed = new ArrayBufferWriter<byte>();
        MessagePackJson.WriteMessagePack(json, packed);
        return packed.WrittenSpan.ToArray();
    }

    private static string Utf8(ReadOnlyMemory<byte> bytes) => Encoding.UTF8.GetString(bytes.Span);
}
