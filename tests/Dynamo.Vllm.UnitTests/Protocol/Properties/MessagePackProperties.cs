using System.Buffers;
using System.Text;
using System.Text.Json.Nodes;
using CsCheck;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Testing.Decoders;

namespace Dynamo.Vllm.UnitTests.Protocol.Properties;

/// <summary>The MessagePack reader and writer, and the way to JSON and back.</summary>
public sealed class MessagePackProperties
{
    private static readonly Gen<string> Text = Gen.OneOf(
        Gen.String[Gen.Char.AlphaNumeric, 0, 40],
        Gen.OneOf("", "\u00e4\u6f22\ud83d\ude00", "\"\\\n\0")
    );

    private static readonly Gen<JsonNode?> Tree = Gen.Recursive<JsonNode?>(
        (depth, inner) =>
        {
            var leaf = Gen.OneOf(
                Gen.Const((JsonNode?)null),
                Gen.Bool.Select(value => (JsonNode?)JsonValue.Create(value)),
                Gen.Long.Select(value => (JsonNode?)JsonValue.Create(value)),
                Gen.ULong.Select(value => (JsonNode?)JsonValue.Create(value)),
                Gen.Double[-1e300, 1e300].Select(value => (JsonNode?)JsonValue.Create(value)),
                Text.Select(value => (JsonNode?)JsonValue.Create(value))
            );
            return depth >= 4
                ? leaf
                : Gen.OneOf(
                    leaf,
                    inner.Array[0, 6].Select(items => (JsonNode?)new JsonArray([.. items.Select(item => item?.DeepClone())])),
                    Gen.Select(Text, inner)
                        .Array[0, 6]
                        .Select(pairs =>
                            (JsonNode?)
                                new JsonObject(
                                    pairs
                                        .DistinctBy(pair => pair.Item1)
                                        .Select(pair => KeyValuePair.Create(pair.Item1, pair.Item2?.DeepClone()))
                                )
                        )
                );
        }
    );

    [Fact]
    public void What_goes_to_MessagePack_comes_back_as_it_was() =>
        Tree.Sample(tree => JsonNode.DeepEquals(tree, JsonPayload.Parse(Pack(tree), PayloadCodec.MessagePack)), iter: Damaged.Tries);

    [Fact]
    public void A_value_that_is_cut_anywhere_is_refused() =>
        Tree.Sample(
            tree =>
            {
                var packed = Pack(tree);
                for (var length = 0; length < packed.Length; length++)
                {
                    Assert.False(DecoderProof.Survives(packed[..length], Transcode), $"cut at {length}");
                    Assert.False(DecoderProof.Survives(packed[..length], Skip), $"cut at {length}");
                }
            },
            iter: Damaged.Tries / 40
        );

    [Fact]
    public void Every_integer_is_read_in_every_way_as_it_was_written() =>
        Gen.Select(Gen.Long, Gen.ULong, Gen.UInt.Array[0, 50])
            .Sample(
                (signed, unsigned, tokens) =>
                {
                    var output = new ArrayBufferWriter<byte>();
                    var writer = new MessagePackWriter(output);
                    writer.WriteInteger(signed);
                    writer.WriteInteger(unsigned);
                    foreach (var token in tokens)
                    {
                        writer.WriteInteger((ulong)token);
                    }

                    var reader = new MessagePackReader(output.WrittenSpan);
                    Assert.Equal(signed, reader.ReadInt64());
                    Assert.Equal(unsigned, reader.ReadUInt64());
                    var read = new uint[tokens.Length];
                    reader.ReadUInt32s(read);
                    Assert.Equal(tokens, read);
                    Assert.True(reader.End);
                },
                iter: Damaged.Tries
            );

    [Fact]
    public void Every_text_and_number_is_read_as_it_was_written() =>
        Gen.Select(Gen.String, Gen.Byte.Array[0, 70_000], Gen.Double)
            .Sample(
                (text, bytes, number) =>
                {
                    var output = new ArrayBufferWriter<byte>();
                    var writer = new MessagePackWriter(output);
                    var utf8 = Encoding.UTF8.GetBytes(text);
                    writer.WriteString(text);
                    writer.WriteString(utf8);
                    writer.WriteBinary(bytes);
                    writer.WriteDouble(number);

                    var reader = new MessagePackReader(output.WrittenSpan);
                    Assert.Equal(utf8, reader.ReadStringBytes().ToArray());
                    Assert.Equal(utf8, reader.ReadStringBytes().ToArray());
                    Assert.Equal(bytes, reader.ReadBinary().ToArray());
                    Assert.Equal(BitConverter.DoubleToInt64Bits(number), BitConverter.DoubleToInt64Bits(reader.ReadDouble()));
                    Assert.True(reader.End);
                },
                iter: Damaged.Tries / 10
            );

    private static byte[] Pack(JsonNode? tree)
    {
        var output = new ArrayBufferWriter<byte>();
        MessagePackJson.WriteMessagePack(Encoding.UTF8.GetBytes(tree?.ToJsonString() ?? "null"), output);
        return output.WrittenSpan.ToArray();
    }

    private static void Transcode(byte[] bytes) => MessagePackJson.Transcode(bytes, new ArrayBufferWriter<byte>());

    private static void Skip(byte[] bytes)
    {
        var reader = new MessagePackReader(bytes);
        reader.Skip();
    }
}
