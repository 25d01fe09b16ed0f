using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Protocol.ImageEncoding;

/// <summary>Where the embeddings of an image can be taken from, as one encode worker tells another worker.</summary>
/// <remarks>Of a <c>MultiModalGroup</c> of the reference what is not empty. The guest reads and writes all of it but the names.</remarks>
public sealed class EncodedImage
{
    /// <summary><c>image_grid_thw</c>: a list of depth, height and width for the image; null for a model without.</summary>
    public required JsonNode? Grid { get; init; }

    /// <summary><c>embeddings_shape</c>.</summary>
    public required JsonNode? Shape { get; init; }

    /// <summary>
    /// <c>serialized_request</c>: type and shape of the tensor, and the ticket for it. Null for an image that came in the tensor of the one
    /// before it.
    /// </summary>
    public required JsonNode? Transfer { get; init; }

    internal JsonObject ToJson() =>
        new()
        {
            ["multimodal_input"] = new JsonObject(),
            ["image_grid_thw"] = Grid?.DeepClone(),
            ["embeddings_shape"] = Shape?.DeepClone(),
            ["serialized_request"] = Transfer?.DeepClone(),
        };

    internal static EncodedImage Read(JsonNode? group) =>
        group is JsonObject json
            ? new EncodedImage
            {
                Grid = json["image_grid_thw"],
                Shape = json["embeddings_shape"],
                Transfer = json["serialized_request"],
            }
            : throw new ProtocolException("an image of the encode worker's answer is no object");
}
