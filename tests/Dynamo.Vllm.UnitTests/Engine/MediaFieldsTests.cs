using System.Buffers;
using System.Text;
using System.Text.Json;
using Dynamo.Vllm.Core.Multimodal;
using Dynamo.Vllm.Engine.Requests;
using Dynamo.Vllm.Protocol.Multimodal;

namespace Dynamo.Vllm.UnitTests.Engine;

/// <summary>Media as the guest reads them (python/dynamo_vllm/media.py).</summary>
public sealed class MediaFieldsTests
{
    private static readonly byte[] Tokens = [1, 0, 0, 0];

    [Fact]
    public void Media_are_described_and_lie_behind_the_tokens()
    {
        var media = new EngineMedia
        {
            Items =
            [
                new EngineMedium(MediaKind.Image, "abc"u8.ToArray()),
                new EngineMedium(MediaKind.Image, null),
                new EngineMedium(MediaKind.Audio, "d"u8.ToArray()),
            ],
            Uuids = new Dictionary<string, IReadOnlyList<string?>> { ["image"] = ["u", null] },
            ProcessorOptionsJson = """{"min_pixels":5}"""u8.ToArray(),
            VideoOptionsJson = "{}"u8.ToArray(),
            EmbeddingParamsJson = """{"a":1}"""u8.ToArray(),
            IsHandedOver = true,
        };
        Assert.Equal(
            """{"media":{"items":[["image",3],["image",null],["audio",1]],"uuids":{"image":["u",null]},"processor_options":{"min_pixels":5},"video_options":{},"embedding_params":{"a":1},"handed_over":true}}""",
            Write(media)
        );
        Assert.Equal([.. Tokens, .. "abcd"u8], MediaFields.Append(Tokens, media).ToArray());
    }

    [Fact]
    public void Text_alone_goes_over_as_before()
    {
        Assert.Equal("{}", Write(null));
        Assert.True(MediaFields.Append(Tokens, null) == Tokens); // the same memory
    }

    private static string Write(EngineMedia? media)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            MediaFields.Write(json, media);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }
}
