using System.Buffers;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.UnitTests.Protocol;

/// <summary>Bodies of embedding requests: what frontends send is read, and what cannot be served is named.</summary>
public sealed class EmbeddingRequestTests
{
    [Theory]
    [InlineData("embedding_text_string")]
    [InlineData("embedding_text_batch")]
    [InlineData("embedding_tokens_string")]
    [InlineData("embedding_tokens_batch_base64")]
    [InlineData("embedding_tokens_ids")]
    public void What_the_frontend_sends_is_read(string name)
    {
        var body = Golden.Json("llm/other-kinds.json")[name]!["worker"]!
            .AsArray()
            .First(entry => entry!["kind"]!.GetValue<string>() == "request")!["preprocessed_request"]!.AsObject();
        foreach (var request in Both(body.ToJsonString()))
        {
            Assert.Equal(body["model"]!.GetValue<string>(), request.Model);
            Assert.Equal(body["dimensions"]?.GetValue<int>(), request.Dimensions);
            Assert.Equal(body["truncate_prompt_tokens"]?.GetValue<int>(), request.TruncatePromptTokens);
            Assert.Equal(body.ContainsKey("token_ids"), request.IsPreprocessed);
            Assert.Equal((body["input"] ?? body["token_ids"])!.ToJsonString(), Shown(request.Prompts, body["input"] is JsonValue));
        }
    }

    [Theory]
    [InlineData("\"a\"", """["a"]""")]
    [InlineData("\"\"", """[""]""")]
    [InlineData("""["a","é漢"]""", """["a","\u00E9\u6F22"]""")]
    [InlineData("[1,5,6]", "[[1,5,6]]")]
    [InlineData("[[1,5],[],[6]]", "[[1,5],[],[6]]")]
    [InlineData("[[]]", "[[]]")]
    public void Each_form_of_input_is_a_list_of_prompts(string input, string prompts)
    {
        foreach (var request in Both($$"""{"input":{{input}}}"""))
        {
            Assert.Equal(prompts, Shown(request.Prompts, isText: false));
            Assert.Equal(JsonNode.Parse(prompts)!.AsArray().Count, request.Prompts.Count);
        }
    }

    [Fact]
    public void Token_ids_count_before_the_input_and_null_counts_as_absent()
    {
        foreach (var body in (string[])["""{"input":"a","token_ids":[[1]]}""", """{"token_ids":[[1]],"input":"a"}"""])
        {
            Assert.All(Both(body), request => Assert.True(request.IsPreprocessed));
            Assert.All(Both(body), request => Assert.Equal([1], request.Prompts.TokenIds.ToArray()));
        }

        const string nulls =
            """{"input":"a","token_ids":null,"dimensions":null,"encoding_format":null,"truncate_prompt_tokens":null,"add_special_tokens":null}""";
        Assert.All(Both(nulls), request => Assert.Equal((false, null, null), (request.IsPreprocessed, request.Dimensions, request.Model)));
    }

    [Theory]
    [InlineData("{}", "input is missing, and so is token_ids")]
    [InlineData("""{"input":null}""", "input is missing, and so is token_ids")]
    [InlineData("[]", "request body is not a map")]
    [InlineData("""{"input":[]}""", "input holds no entry, the limit is 1")]
    [InlineData("""{"token_ids":[]}""", "token_ids holds no entry, the limit is 1")]
    [InlineData("""{"input":5.5}""", "input is 5.5, must be a string, or an array of strings, of token ids or of arrays of token ids")]
    [InlineData("""{"input":[null]}""", "input[0] is null, must be a string, a token id or an array of token ids")]
    [InlineData("""{"input":["a",1]}""", "input[1] is of type Integer, must be a string")]
    [InlineData("""{"input":[1,"a"]}""", "input[1] is of type String, must be an integer token id")]
    [InlineData("""{"input":[1,true]}""", "input[1] is true, must be an integer token id")]
    [InlineData("""{"input":[[1],"a"]}""", "input[1] is of type String, must be an array")]
    [InlineData("""{"input":[[1],[2,[3]]]}""", "input[1][1] is of type Array, must be an integer token id")]
    [InlineData("""{"token_ids":[[4294967295]]}""", "token_ids[0][0] is 4294967295, above the limit 2147483647")]
    [InlineData("""{"input":"a","dimensions":0}""", "dimensions is 0, below the limit 1")]
    [InlineData("""{"input":"a","dimensions":"x"}""", "dimensions is of type String, must be an integer")]
    [InlineData("""{"input":"a","truncate_prompt_tokens":-2}""", "truncate_prompt_tokens is -2, below the limit -1")]
    [InlineData("""{"input":"a","add_special_tokens":1}""", "add_special_tokens is of type Integer, must be a boolean")]
    [InlineData("""{"input":"a","encoding_format":"hex"}""", "encoding_format is 'hex', must be 'float' or 'base64'")]
    [InlineData("""{"input":"a","model":"\ud800"}""", "model holds text that is not valid Unicode")]
    public void What_cannot_be_served_is_named(string body, string problem) => Assert.Equal(problem, Refusal(body));

    [Fact]
    public void A_batch_may_be_as_long_as_the_limit_and_no_longer()
    {
        var most = string.Join(',', Enumerable.Repeat("\"\"", Limits.EmbeddingInputsMax));
        Assert.All(Both($$"""{"input":[{{most}}]}"""), request => Assert.Equal(Limits.EmbeddingInputsMax, request.Prompts.Count));
        Assert.Equal("input holds 16385 entries, above the limit 16384", Refusal($$"""{"input":[{{most}},""]}"""));
        var lists = string.Join(',', Enumerable.Repeat("[]", Limits.EmbeddingInputsMax + 1));
        Assert.Equal("token_ids holds 16385 entries, above the limit 16384", Refusal($$"""{"token_ids":[{{lists}}]}"""));
    }

    [Fact]
    public void Texts_may_be_as_long_together_as_the_limit_and_no_longer()
    {
        var half = new string('a', (Limits.EmbeddingTextBytesMax / 2) - 8); // less what the wire adds to each
        Assert.Equal(2, Parse($$"""{"input":["{{half}}","{{half}}"]}""", PayloadCodec.Json).Prompts.Count);
        var problem = Refusal($$"""{"input":["{{half}}","{{half}}","{{new string('b', 32)}}"]}""");
        Assert.Matches("^input\\[2\\] ends after 167772\\d\\d bytes of text, above the limit 16777216$", problem);
    }

    [Fact]
    public void Token_ids_may_be_as_many_together_as_the_limit_and_no_more()
    {
        var list = new ArrayBufferWriter<byte>();
        var writer = new MessagePackWriter(list);
        writer.WriteMapHeader(1);
        writer.WriteString("token_ids"u8);
        writer.WriteArrayHeader(2);
        writer.WriteArrayHeader(Limits.EmbeddingTokensMax);
        list.Write(new byte[Limits.EmbeddingTokensMax]);
        byte[] full = [.. list.WrittenSpan, 0x90];
        byte[] over = [.. list.WrittenSpan, 0x91, 0];
        Assert.Equal(Limits.EmbeddingTokensMax, EmbeddingRequestParser.Parse(full, PayloadCodec.MessagePack).Prompts.TokenIds.Length);
        Assert.Equal(
            "token_ids[1] ends after 4194305 token ids, above the limit 4194304",
            Assert.Throws<ProtocolException>(() => EmbeddingRequestParser.Parse(over, PayloadCodec.MessagePack)).Message
        );
    }

    [Fact]
    public void A_body_that_is_cut_anywhere_is_refused()
    {
        var packed = new ArrayBufferWriter<byte>();
        MessagePackJson.WriteMessagePack(
            """{"token_ids":[[1,300],[70000]],"model":"m","dimensions":4,"encoding_format":"float"}"""u8,
            packed
        );
        var whole = packed.WrittenSpan.ToArray();
        for (var length = 0; length < whole.Length; length++)
        {
            Assert.Throws<ProtocolException>(() => EmbeddingRequestParser.Parse(whole.AsSpan(0, length), PayloadCodec.MessagePack));
        }
    }

    private static IEnumerable<EmbeddingRequest> Both(string json) =>
        [Parse(json, PayloadCodec.Json), Parse(json, PayloadCodec.MessagePack)];

    private static EmbeddingRequest Parse(string json, PayloadCodec codec)
    {
        var body = Encoding.UTF8.GetBytes(json);
        if (codec == PayloadCodec.Json)
        {
            return EmbeddingRequestParser.Parse(body, codec);
        }

        var packed = new ArrayBufferWriter<byte>();
        MessagePackJson.WriteMessagePack(body, packed);
        return EmbeddingRequestParser.Parse(packed.WrittenSpan, codec);
    }

    private static string Refusal(string body) => Assert.Throws<ProtocolException>(() => Parse(body, PayloadCodec.Json)).Message;

    private static string Shown(EmbeddingPrompts prompts, bool isText)
    {
        if (prompts.Texts is { } texts)
        {
            var array = new JsonArray([.. texts.Select(text => JsonValue.Create(text))]);
            return (isText ? array[0]! : array).ToJsonString();
        }

        var lists = new JsonArray();
        var start = 0;
        foreach (var count in prompts.TokenCounts)
        {
            lists.Add((JsonNode)new JsonArray([.. prompts.TokenIds.Slice(start, count).ToArray().Select(id => JsonValue.Create(id))]));
            start += count;
        }

        Assert.Equal(prompts.TokenIds.Length, start);
        return lists.ToJsonString();
    }
}
