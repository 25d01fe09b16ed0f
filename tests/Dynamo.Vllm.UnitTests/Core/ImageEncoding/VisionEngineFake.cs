using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.ImageEncoding;

namespace Dynamo.Vllm.UnitTests.Core.ImageEncoding;

/// <summary>Offers each image under its own bytes.</summary>
internal sealed class VisionEngineFake : IVisionEngine
{
    public List<string> Asked { get; } = [];

    public Task<IReadOnlyList<EncodedImage>> EncodeImagesAsync(
        IReadOnlyList<ReadOnlyMemory<byte>> images,
        string? scope,
        CancellationToken cancellationToken
    )
    {
        var texts = images.Select(image => Encoding.UTF8.GetString(image.Span)).ToList();
        Asked.Add($"{string.Join(' ', texts)} {scope}");
        return Task.FromResult<IReadOnlyList<EncodedImage>>([.. texts.Select(Offer)]);
    }

    public static EncodedImage Offer(string ticket) =>
        new()
        {
            Grid = new JsonArray(new JsonArray(1, 6, 8)),
            Shape = new JsonArray(1, 12, 4),
            Transfer = new JsonObject
            {
                ["embeddings_shape"] = new JsonArray(1, 12, 4),
                ["embedding_dtype_str"] = "float32",
                ["serialized_request"] = ticket,
            },
        };
}
