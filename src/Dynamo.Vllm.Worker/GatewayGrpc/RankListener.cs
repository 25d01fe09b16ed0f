using System.Buffers.Binary;
using Dynamo.Vllm.Core.KvEvents;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Grpc.Core;
using LoadOfRank = Dynamo.Vllm.Core.Engines.EngineLoad;

namespace Dynamo.Vllm.Worker.GatewayGrpc;

/// <summary>One rank of a subscription: its batches in the words of the contract, without a hole, and what was told last.</summary>
/// <remarks>Batches come on the feed's own loop; what was told is read and written by whoever has the subscription's turn.</remarks>
internal sealed class RankListener : IEngineEventSink
{
    private readonly Func<RankListener, KvEventBatch, Task> _tell;
    private readonly Action<StatusCode, string> _lose;
    private readonly EngineEventBatch _batch = new();
    private readonly KvEventTranslator _translator = new();
    private bool _wasConnected;
    private ulong? _last;

    /// <param name="rank">Global.</param>
    /// <param name="tell">Takes a batch, and waits while the caller does not read.</param>
    /// <param name="lose">Ends the subscription.</param>
    public RankListener(int rank, Func<RankListener, KvEventBatch, Task> tell, Action<StatusCode, string> lose)
    {
        Rank = rank;
        _tell = tell;
        _lose = lose;
    }

    public int Rank { get; }

    /// <summary>The engine's number of the last batch that the caller was told; null before the first.</summary>
    public ulong? ToldSequence { get; private set; }

    public LoadOfRank ToldLoad { get; private set; }

    /// <summary>When the caller heard of the rank last; null before.</summary>
    public long? ToldAt { get; private set; }

    /// <summary>When it last heard of a load that was another.</summary>
    public long ChangedAt { get; private set; }

    /// <param name="sequence">Of a batch that the caller is being told; null for the load alone.</param>
    /// <param name="load">That it is told.</param>
    /// <param name="timestamp">When.</param>
    public void Told(ulong? sequence, LoadOfRank load, long timestamp)
    {
        if (ToldAt is null || load != ToldLoad)
        {
            ChangedAt = timestamp;
        }

        ToldSequence = sequence ?? ToldSequence;
        (ToldLoad, ToldAt) = (load, timestamp);
    }

    public void OnConnected() => _wasConnected = true;

    public void OnDisconnected(string problem)
    {
        if (_wasConnected)
        {
            LoseEvents($"the connection to the engine's publisher ended: {problem}");
        }
    }

    public async ValueTask OnMessageAsync(EngineMessage message)
    {
        if (Translate(message) is { } batch)
        {
            await _tell(this, batch).ConfigureAwait(false);
        }
    }

    /// <returns>Null if the subscription is over.</returns>
    private KvEventBatch? Translate(EngineMessage message)
    {
        try
        {
            if (message.Frames != EngineMessage.FramesNeeded || message.Sequence.Length != sizeof(ulong))
            {
                throw new ProtocolException(
                    $"a message has {message.Frames} frames and a sequence of {message.Sequence.Length} bytes; 3 and 8 are needed"
                );
            }

            var sequence = BinaryPrimitives.ReadUInt64BigEndian(message.Sequence.Span);
            if (_last is { } last && sequence != last + 1)
            {
                return LoseEvents(
                    sequence > last ? $"batches {last + 1} to {sequence - 1} were lost" : "the engine's publisher began again"
                );
            }

            _last = sequence;
            _batch.Decode(message.Payload.Span);
            var told = new KvEventBatch { SequenceNumber = sequence, Timestamp = _batch.Timestamp };
            _translator.AddTo(told, _batch, message.Payload.Span);
            return told;
        }
        catch (ProtocolException exception)
        {
            return LoseEvents(exception.Message);
        }
    }

    private KvEventBatch? LoseEvents(string problem)
    {
        _lose(StatusCode.DataLoss, $"KV events of rank {Rank}: {problem}; subscribe again with 0 and rebuild");
        return null;
    }
}
