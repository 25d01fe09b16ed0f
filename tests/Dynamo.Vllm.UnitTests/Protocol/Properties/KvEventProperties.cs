using System.Buffers;
using System.Text;
using System.Text.Json.Nodes;
using CsCheck;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Protocol.MessagePack;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Testing.Decoders;

namespace Dynamo.Vllm.UnitTests.Protocol.Properties;

/// <summary>The engine's event batches, what becomes of them, and routers' questions.</summary>
public sealed class KvEventProperties
{
    private static readonly byte[][] Batches =
    [
        .. Directory
            .GetFiles(Path.Combine(AppContext.BaseDirectory, "golden", "kv"), "vllm-*.payload.bin")
            .Order(StringComparer.Ordinal)
            .Select(File.ReadAllBytes),
    ];

    private static readonly Gen<ulong?> Number = Gen.ULong.Nullable();

    [Fact]
    public void A_batch_that_is_cut_anywhere_is_refused()
    {
        foreach (var batch in Batches)
        {
            for (var length = 0; length < batch.Length; length++)
            {
                Assert.False(DecoderProof.Survives(batch[..length], cut => new EngineEventBatch().Decode(cut)));
            }
        }
    }

    [Fact]
    public void A_damaged_batch_leaves_nothing_behind_for_the_next_one() =>
        Damaged
            .Of(Batches)
            .Sample(
                bytes =>
                {
                    var (used, fresh) = (new EngineEventBatch(), new EngineEventBatch());
                    DecoderProof.Survives(bytes, payload => used.Decode(payload));
                    used.Decode(Batches[0]);
                    fresh.Decode(Batches[0]);
                    Assert.Equal((fresh.Timestamp, fresh.Rank, fresh.Events.Length), (used.Timestamp, used.Rank, used.Events.Length));
                    for (var i = 0; i < fresh.Events.Length; i++)
                    {
                        Assert.Equal(fresh.Hashes(fresh.Events[i]).ToArray(), used.Hashes(used.Events[i]).ToArray());
                        Assert.Equal(fresh.Tokens(fresh.Events[i]).ToArray(), used.Tokens(used.Events[i]).ToArray());
                    }
                },
                iter: Damaged.Tries / 4
            );

    [Fact]
    public void A_question_is_read_as_it_was_written_in_both_codecs() =>
        Gen.Select(Gen.ULong, Gen.UInt, Number, Number, Gen.Bool, Gen.Bool)
            .Sample(
                (worker, rank, start, end, dump, isPacked) =>
                {
                    var query = new KvQuery(worker, rank, start, end, dump, IsRecovery: true);
                    var json = Encoding.UTF8.GetBytes(Body(query).ToJsonString());
                    Assert.Equal(
                        query,
                        isPacked ? KvQuery.Parse(Pack(json), PayloadCodec.MessagePack) : KvQuery.Parse(json, PayloadCodec.Json)
                    );
                },
                iter: Damaged.Tries / 4
            );

    [Fact]
    public void An_envelope_holds_what_was_put_into_it() =>
        Gen.Select(Gen.ULong, Gen.ULong, Gen.Long[0, 4_000_000_000_000], Gen.String.AlphaNumeric, Gen.Byte.Array[0, 600])
            .Sample(
                (publisher, sequence, time, topic, payload) =>
                {
                    var output = new ArrayBufferWriter<byte>();
                    EventEnvelope.Write(output, PublisherId.FromRandom(publisher), sequence, time, Encoding.UTF8.GetBytes(topic), payload);
                    var reader = new MessagePackReader(output.WrittenSpan);
                    Assert.Equal(5, reader.ReadMapHeader());
                    Assert.Equal("publisher_id", reader.ReadString());
                    Assert.Equal(publisher & ((1UL << 53) - 1), reader.ReadUInt64());
                    Assert.Equal("sequence", reader.ReadString());
                    Assert.Equal(sequence, reader.ReadUInt64());
                    Assert.Equal("published_at", reader.ReadString());
                    Assert.Equal(time, reader.ReadInt64());
                    Assert.Equal("topic", reader.ReadString());
                    Assert.Equal(topic, reader.ReadString());
                    Assert.Equal("payload", reader.ReadString());
                    Assert.Equal(payload, reader.ReadBinary().ToArray());
                    Assert.True(reader.End);
                },
                iter: Damaged.Tries / 4
            );

    private static JsonObject Body(KvQuery query) =>
        new()
        {
            ["worker_id"] = query.WorkerId,
            ["dp_rank"] = query.Rank,
            ["start_event_id"] = query.Start,
            ["end_event_id"] = query.End,
            ["supports_tree_dump_failed"] = query.SupportsDumpFailed,
            ["kind"] = "recovery",
            ["later"] = new JsonArray(1),
        };

    private static byte[] Pack(byte[] json)
    {
        var output = new ArrayBufferWriter<byte>();
        MessagePackJson.WriteMessagePack(json, output);
        return output.WrittenSpan.ToArray();
    }
}
