using System.Buffers;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.KvEvents;

namespace Dynamo.Vllm.UnitTests.Protocol.KvEvents;

/// <summary>Decoder, converter and log of one rank, as the relay strings them together, without sockets.</summary>
internal sealed class KvPipeline
{
    private readonly EngineEventBatch _batch;
    private readonly KvEventConverter _converter;
    private readonly RouterEventList _events = new();
    private readonly OutgoingEvents _outgoing = new();
    private readonly InstanceId _worker;

    public KvPipeline(KvEventConversion conversion, ulong worker, bool acceptsByteHashes = true, int rank = 0)
    {
        _batch = new EngineEventBatch(acceptsByteHashes);
        _converter = new KvEventConverter(conversion);
        _worker = new InstanceId(worker);
        Log = new RankEventLog(rank, KvRelayLimits.IndexBlocksMin);
    }

    public RankEventLog Log { get; }

    public KvEventConverter Converter => _converter;

    /// <summary>Payloads of the messages that one engine batch becomes; none if it is refused.</summary>
    public List<byte[]> Send(ReadOnlySpan<byte> payload)
    {
        _outgoing.Clear();
        try
        {
            _batch.Decode(payload);
            _converter.Convert(_batch, payload, _events);
            Log.Append(_worker, _events, payload, _outgoing);
        }
        catch (ProtocolException)
        {
            // As the relay: the batch is dropped.
        }

        return [.. Enumerable.Range(0, _outgoing.MessageCount).Select(i => _outgoing.Payload(i).ToArray())];
    }

    public void Append(RouterEventList events) => Log.Append(_worker, events, default, _outgoing);

    public string Ask(KvQuery query)
    {
        var output = new ArrayBufferWriter<byte>();
        Log.Answer(_worker, query, output);
        return Convert.ToHexStringLower(output.WrittenSpan);
    }
}
