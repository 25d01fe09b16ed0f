using System.IO.Hashing;
using System.Text;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.KvEvents;

namespace Dynamo.Vllm.UnitTests.Protocol.KvEvents;

using Dynamo.Vllm.Testing;

public sealed class BlockHasherTests
{
    private static readonly JsonObject Vectors = Golden.Json("kv/hash-vectors.json");

    public static TheoryData<string> Names() => new(Vectors["vectors"]!.AsArray().Select(vector => vector!["name"]!.GetValue<string>()));

    [Theory]
    [MemberData(nameof(Names))]
    public void Seeds_local_and_sequence_hashes_equal_the_reference(string name)
    {
        var vector = Vectors["vectors"]!.AsArray().Single(vector => vector!["name"]!.GetValue<string>() == name)!;
        var tokens = vector["tokens"]!.AsArray().Select(token => token!.GetValue<uint>()).ToArray();
        var blockSize = vector["block_size"]!.GetValue<int>();
        var window = vector["is_eagle"]?.GetValue<bool>() == true ? blockSize + 1 : blockSize;
        var seed = BlockHasher.Seed(BlockHasher.HashLora(Utf8(vector["lora_name"])), BlockHasher.HashSalt(Utf8(vector["cache_namespace"])));
        var locals = new List<TokensHash>();
        for (var start = 0; start + window <= tokens.Length; start += blockSize)
        {
            locals.Add(BlockHasher.HashTokens(tokens.AsSpan(start, window), Media(vector["block_mm_infos"], locals.Count), seed));
        }

        Assert.Equal(vector["seed"]!.GetValue<string>(), $"{seed}");
        Assert.Equal(Strings(vector["local_block_hashes"]), locals.Select(hash => $"{hash.Value}"));
        Assert.Equal(Strings(vector["sequence_hashes"]), Sequence(locals).Select(hash => $"{hash}"));
    }

    [Fact]
    public void Raw_hashes_equal_the_reference_for_every_length_class()
    {
        var cases = Vectors["xxh3_64_raw"]!["cases"]!.AsArray();
        Assert.Equal(128, cases.Count);
        foreach (var item in cases)
        {
            var data = Enumerable.Range(0, item!["len"]!.GetValue<int>()).Select(i => (byte)((31 * i) + 7)).ToArray();
            var seed = ulong.Parse(item["seed"]!.GetValue<string>(), null);
            Assert.Equal(item["hash"]!.GetValue<string>(), $"{XxHash3.HashToUInt64(data, unchecked((long)seed))}");
        }
    }

    [Fact]
    public void Pad_values_equal_the_reference()
    {
        foreach (var item in Vectors["pad_value"]!.AsArray())
        {
            Assert.Equal(
                item!["pad"]!.GetValue<uint>(),
                MediaPlaceholders.PadValue(ulong.Parse(item["mm_hash"]!.GetValue<string>(), null))
            );
        }
    }

    private static IEnumerable<ulong> Sequence(List<TokensHash> locals)
    {
        var previous = 0UL;
        for (var i = 0; i < locals.Count; i++)
        {
            previous = i == 0 ? locals[0].Value : BlockHasher.Chain(previous, locals[i]);
            yield return previous;
        }
    }

    private static byte[] Utf8(JsonNode? text) => text is null ? [] : Encoding.UTF8.GetBytes(text.GetValue<string>());

    private static IEnumerable<string> Strings(JsonNode? array) => array!.AsArray().Select(item => item!.GetValue<string>());

    private static MediaObject[] Media(JsonNode? infos, int block) =>
        infos is JsonArray list && block < list.Count && list[block] is { } info
            ? [.. info["mm_objects"]!.AsArray().Select(item => new MediaObject(ulong.Parse(item!["mm_hash"]!.ToString(), null), []))]
            : [];
}
