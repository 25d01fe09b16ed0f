using System.Buffers;
using BenchmarkDotNet.Attributes;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Protocol.MessagePack;

namespace Dynamo.Vllm.Benchmarks;

/// <summary>Cache events from the engine's bytes to the event plane's. The
/// unit is one block; the target is 1 µs, a million a second.</summary>
/// <remarks>A cache of 16,384 blocks that is full: each batch removes the
/// oldest blocks, one event each, and stores as many new ones.</remarks>
[MemoryDiagnoser]
public class BlockConversionBenchmarks
{
    private const int CachedBlocks = 16_384;
    private const int BlocksPerBatch = 64;
    private const int BlocksPerRun = CachedBlocks * 2;

    private readonly List<byte[]> _batches = [];
    private readonly EngineEventBatch _batch = new();
    private readonly RouterEventList _events = new();
    private readonly OutgoingEvents _outgoing = new();
    private KvEventConverter _converter = null!;
    private RankEventLog _log = null!;

    /// <summary>Tokens per block.</summary>
    [Params(16, 128)]
    public int BlockSize { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        _converter = new KvEventConverter(new KvEventConversion(BlockSize));
        _log = new RankEventLog(0, KvRelayLimits.IndexBlocksMin);
        var hash = 0UL;
        var random = new Random(1);
        for (var i = 0; i < CachedBlocks / BlocksPerBatch * 2; i++)
        {
            _batches.Add(Encode(random, hash, i >= CachedBlocks / BlocksPerBatch));
            hash += BlocksPerBatch;
        }
    }

    /// <summary>Decoding and hashing alone.</summary>
    [Benchmark(OperationsPerInvoke = BlocksPerRun)]
    public int Convert()
    {
        foreach (var payload in _batches)
        {
            _batch.Decode(payload);
            _converter.Convert(_batch, payload, _events);
        }

        return _events.Events.Length;
    }

    /// <summary>All that the relay does for a block, but for the socket.</summary>
    [Benchmark(OperationsPerInvoke = BlocksPerRun)]
    public int Relay()
    {
        var bytes = 0;
        foreach (var payload in _batches)
        {
            _outgoing.Clear();
            _batch.Decode(payload);
            _converter.Convert(_batch, payload, _events);
            _log.Append(new InstanceId(ulong.MaxValue - 1), _events, payload, _outgoing);
            for (var i = 0; i < _outgoing.MessageCount; i++)
            {
                bytes += _outgoing.Payload(i).Length;
            }
        }

        return bytes;
    }

    private byte[] Encode(Random random, ulong firstHash, bool evicts)
    {
        var output = new ArrayBufferWriter<byte>();
        var writer = new MessagePackWriter(output);
        writer.WriteArrayHeader(3);
        writer.WriteDouble(1);
        writer.WriteArrayHeader(evicts ? BlocksPerBatch + 1 : 1);
        for (var i = 0; evicts && i < BlocksPerBatch; i++)
        {
            writer.WriteMapHeader(4);
            writer.WriteString("type"u8);
            writer.WriteString("BlockRemoved"u8);
            writer.WriteString("block_hashes"u8);
            writer.WriteArrayHeader(1);
            writer.WriteInteger(HashOf(firstHash - CachedBlocks + (ulong)i));
            writer.WriteString("medium"u8);
            writer.WriteString("GPU"u8);
            writer.WriteString("group_idx"u8);
            writer.WriteInteger(0UL);
        }

        WriteStored(writer, random, firstHash);
        writer.WriteInteger(0UL);
        return output.WrittenSpan.ToArray();
    }

    private void WriteStored(MessagePackWriter writer, Random random, ulong firstHash)
    {
        writer.WriteMapHeader(11);
        writer.WriteString("type"u8);
        writer.WriteString("BlockStored"u8);
        writer.WriteString("block_hashes"u8);
        writer.WriteArrayHeader(BlocksPerBatch);
        for (var i = 0; i < BlocksPerBatch; i++)
        {
            writer.WriteInteger(HashOf(firstHash + (ulong)i));
        }

        writer.WriteString("parent_block_hash"u8);
        writer.WriteNil();
        writer.WriteString("token_ids"u8);
        writer.WriteArrayHeader(BlocksPerBatch * BlockSize);
        for (var i = 0; i < BlocksPerBatch * BlockSize; i++)
        {
            writer.WriteInteger((ulong)random.Next(128_000));
        }

        writer.WriteString("block_size"u8);
        writer.WriteInteger(BlockSize);
        writer.WriteString("lora_id"u8);
        writer.WriteNil();
        writer.WriteString("medium"u8);
        writer.WriteString("GPU"u8);
        writer.WriteString("lora_name"u8);
        writer.WriteNil();
        writer.WriteString("extra_keys"u8);
        writer.WriteArrayHeader(BlocksPerBatch);
        for (var i = 0; i < BlocksPerBatch; i++)
        {
            writer.WriteNil();
        }

        writer.WriteString("group_idx"u8);
        writer.WriteInteger(0UL);
        writer.WriteString("kv_cache_spec_kind"u8);
        writer.WriteString("full_attention"u8);
    }

    /// <summary>Spread like digests.</summary>
    private static ulong HashOf(ulong number) => unchecked((number + 1) * 0x9e3779b97f4a7c15);
}
