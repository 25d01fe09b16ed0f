using System.Buffers;
using System.Text;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.UnitTests.Protocol;

/// <summary>Bodies of requests for classes and vectors, and what of them goes over to the guest.</summary>
public sealed class ClassificationRequestTests
{
    [Theory]
    [InlineData(
        """{"input":"a","priority":0}""",
        """{"request_id":"r","texts":["a"],"tokenization":{},"pooling":{"task":"classify","one_row":true}}"""
    )]
    [InlineData(
        """{"input":[[1,2],[3]],"use_activation":false,"truncate_prompt_tokens":-1,"truncation_side":"left","add_special_tokens":true,"cache_salt":"s","priority":-2,"task":"x","embed_dtype":5}""",
        """{"request_id":"r","lengths":[2,1],"cache_salt":"s","priority":-2,"tokenization":{"truncate_prompt_tokens":-1,"truncation_side":"left","add_special_tokens":true},"pooling":{"task":"classify","use_activation":false,"one_row":true}}"""
    )]
    [InlineData(
        """{"input":"a","encoding_format":"float","embed_dtype":"float16"}""",
        """{"request_id":"r","texts":["a"],"tokenization":{},"pooling":{}}"""
    )]
    [InlineData("""{"input":"a","encoding_format":null}""", """{"request_id":"r","texts":["a"],"tokenization":{},"pooling":{}}""")]
    [InlineData(
        """{"input":"a","task":"token_classify","encoding_format":"bytes","embed_dtype":"fp8_e4m3","endianness":"big"}""",
        """{"request_id":"r","texts":["a"],"tokenization":{},"pooling":{"task":"token_classify","dtype":"fp8_e4m3","endianness":"big"}}"""
    )]
    public void What_is_asked_for_goes_over_as_json(string body, string json)
    {
        foreach (var codec in (PayloadCodec[])[PayloadCodec.Json, PayloadCodec.MessagePack])
        {
            var written = new ArrayBufferWriter<byte>();
            PoolingRequestEncoder.Write(written, "r", ClassificationRequestParser.Parse(Encode(body, codec), codec));
            Assert.Equal(json, Encoding.UTF8.GetString(written.WrittenSpan));
        }
    }

    [Theory]
    [InlineData("[]", "request body is not a map")]
    [InlineData("{}", "input is missing")]
    [InlineData("""{"input":[]}""", "input holds no entry, the limit is 1")]
    [InlineData("""{"input":"a","truncate_prompt_tokens":-2}""", "truncate_prompt_tokens is -2, below the limit -1")]
    [InlineData("""{"input":"a","truncation_side":"up"}""", "truncation_side is 'up', must be one of left, right")]
    [InlineData("""{"input":"a","use_activation":1}""", "use_activation is of type Integer, must be a boolean")]
    [InlineData("""{"dimensions":3,"input":"a","encoding_format":"float"}""", "dimensions is currently not supported")]
    [InlineData("""{"input":"a","encoding_format":"hex"}""", "encoding_format is 'hex', must be one of float, base64, bytes, bytes_only")]
    [InlineData(
        """{"input":"a","encoding_format":"bytes","embed_dtype":"int8"}""",
        "embed_dtype is 'int8', must be one of float32, float16, bfloat16, fp8_e4m3, fp8_e5m2"
    )]
    [InlineData(
        """{"input":"a","encoding_format":"bytes","endianness":"odd"}""",
        "endianness is 'odd', must be one of native, big, little"
    )]
    public void What_cannot_be_served_is_named(string body, string problem) =>
        Assert.Equal(
            problem,
            Assert
                .Throws<ProtocolException>(() =>
                    ClassificationRequestParser.Parse(Encode(body, PayloadCodec.MessagePack), PayloadCodec.MessagePack)
                )
                .Message
        );

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
}
