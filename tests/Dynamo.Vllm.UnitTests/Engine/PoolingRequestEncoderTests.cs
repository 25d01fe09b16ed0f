using System.Buffers;
using System.Text;
using System.Text.Json;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.UnitTests.Engine;

/// <summary>Embedding requests as the guest reads them, and what becomes of its refusals.</summary>
public sealed class PoolingRequestEncoderTests
{
    [Theory]
    [InlineData("""{"input":["a","\"é\n"]}""", """{"request_id":"r","texts":["a","\u0022\u00E9\n"],"tokenization":{}}""")]
    [InlineData("""{"input":[[1,2],[],[3]]}""", """{"request_id":"r","lengths":[2,0,1],"tokenization":{}}""")]
    [InlineData(
        """{"token_ids":[[1]],"dimensions":4,"truncate_prompt_tokens":-1,"add_special_tokens":false}""",
        """{"request_id":"r","dimensions":4,"lengths":[1],"tokenization":{"truncate_prompt_tokens":-1,"add_special_tokens":false}}"""
    )]
    public void Prompts_and_their_options_go_over_as_json_but_for_the_token_ids(string body, string json)
    {
        var request = EmbeddingRequestParser.Parse(Encoding.UTF8.GetBytes(body), PayloadCodec.Json);
        var written = new ArrayBufferWriter<byte>();
        PoolingRequestEncoder.Write(written, "r", request);
        Assert.Equal(json, Encoding.UTF8.GetString(written.WrittenSpan));
    }

    [Theory]
    [InlineData("""{"kind":"http","status":400,"type":"VLLMValidationError","message":"no"}""", "backend.invalid_argument", "no")]
    [InlineData("""{"kind":"http","status":503,"type":"QueueOverflowError","message":"full"}""", "backend.unavailable", null)]
    [InlineData("""{"kind":"invalid_argument","status":500,"type":"TypeError","message":"x"}""", "backend.invalid_argument", null)]
    [InlineData("""{"kind":"engine_dead","status":500,"type":"EngineDeadError","message":"x"}""", "backend.engine_shutdown", null)]
    [InlineData("""{"kind":"unknown","status":500,"type":"RuntimeError","message":"x"}""", "backend.unknown", null)]
    public void What_the_engine_refuses_is_said_to_the_client_and_nothing_else_is(string failure, string reason, string? said)
    {
        using var document = JsonDocument.Parse(failure);
        var error = FailureMapping.ToEncodeError(document.RootElement);
        Assert.Equal((reason, said), (error.Reason, error.PublicMessage));
    }
}
