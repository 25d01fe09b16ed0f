using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Worker.GrpcRequests;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary>The one constraint that a request may put on its output.</summary>
internal static class GuidedForms
{
    public static GuidedDecoding? Read(DecodingParameters decoding) =>
        decoding.StructuredOutputCase switch
        {
            DecodingParameters.StructuredOutputOneofCase.Json => new GuidedDecoding { JsonSchema = GuidedJson.ReadSchema(decoding.Json) },
            DecodingParameters.StructuredOutputOneofCase.Regex => new GuidedDecoding { Regex = decoding.Regex },
            DecodingParameters.StructuredOutputOneofCase.Choice => new GuidedDecoding { Choice = [.. decoding.Choice.Choices] },
            DecodingParameters.StructuredOutputOneofCase.Grammar => new GuidedDecoding { Grammar = decoding.Grammar },
            DecodingParameters.StructuredOutputOneofCase.JsonObject when decoding.JsonObject => GuidedJson.AnyObject,
            DecodingParameters.StructuredOutputOneofCase.StructuralTag => new GuidedDecoding
            {
                StructuralTag = GuidedJson.Read(decoding.StructuralTag, "structural_tag"),
            },
            _ => null,
        };
}
