using System.Buffers;
using System.Text;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.UnitTests.Engine;

/// <summary>Text requests as the guest reads them.</summary>
public sealed class TextRequestEncoderTests
{
    [Theory]
    [InlineData("""{"prompt":"a"}""", """{"request_id":"r","sampling":{},"text":{"prompt":"a"}}""")]
    [InlineData("""{"prompt":[1,2]}""", """{"request_id":"r","sampling":{},"text":{}}""")]
    [InlineData(
        """{"messages":[{"role":"user"}],"max_tokens":3,"temperature":1,"stop":"x","chat_template_args":{"b":1},"nvext":{"cache_salt":"s"},"routing":{"priority":2}}""",
        """{"request_id":"r","sampling":{"temperature":1.0,"max_tokens":3,"stop":["x"]},"text":{"messages":[{"role":"user"}],"length":17,"variables":[{"b":1}]},"cache_salt":"dynamo-cache-salt:s","priority":-2}"""
    )]
    public void A_request_goes_over_as_json_but_for_token_ids(string body, string json)
    {
        var options = TextRequestParser.Parse(Encoding.UTF8.GetBytes(body), PayloadCodec.Json);
        var written = new ArrayBufferWriter<byte>();
        TextRequestEncoder.Write(written, new TextEngineRequest { RequestId = "r", Options = options });
        Assert.Equal(json, Encoding.UTF8.GetString(written.WrittenSpan));
    }
}
