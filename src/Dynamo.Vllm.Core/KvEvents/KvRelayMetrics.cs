using System.Globalization;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.KvEvents;
using Prometheus;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>Counters of the relay. The <c>kv_publisher</c> families are the reference's; the <c>dynamo_vllm</c> ones are ours.</summary>
public sealed class KvRelayMetrics
{
    private readonly Counter _zmqEvents;
    private readonly Counter.Child _engineDropped;
    private readonly Counter _batches;
    private readonly Counter _blocks;
    private readonly Counter _dropped;
    private readonly Counter _gaps;
    private readonly Counter _queries;
    private readonly Counter _published;
    private readonly Counter _failed;
    private readonly Counter _firstTokensLost;
    private readonly Counter _silent;
    private readonly Counter _subscriberDrops;
    private readonly Gauge _connected;
    private readonly Gauge _indexBlocks;
    private readonly Histogram _lag;
    private readonly string[] _labels;

    public KvRelayMetrics(RuntimeMetrics runtime, EndpointId endpoint)
    {
        var factory = Prometheus.Metrics.WithCustomRegistry(runtime.Registry);
        _labels = [endpoint.Component, endpoint.Namespace, runtime.WorkerId];
        string[] names = ["dynamo_component", "dynamo_namespace", "worker_id"];
        _zmqEvents = factory.CreateCounter(
            "dynamo_component_kv_publisher_zmq_events_total",
            "Total number of ZMQ KV events seen by the relay",
            ["dynamo_component", "dynamo_namespace", "event_type", "stage", "worker_id"]
        );
        _engineDropped = factory
            .CreateCounter(
                "dynamo_component_kv_publisher_engines_dropped_events_total",
                "Total number of raw events dropped by engines before reaching publisher (detected via event_id gaps)",
                names
            )
            .WithLabels(_labels);
        _batches = factory.CreateCounter(
            "dynamo_vllm_kv_relay_batches_total",
            "Event batches of the engine by what became of them",
            "dp_rank",
            "outcome"
        );
        _blocks = factory.CreateCounter(
            "dynamo_vllm_kv_relay_blocks_total",
            "Blocks in events that were published",
            "dp_rank",
            "event_type"
        );
        _dropped = factory.CreateCounter(
            "dynamo_vllm_kv_relay_events_dropped_total",
            "Engine events that were not published, by reason",
            "dp_rank",
            "reason"
        );
        _gaps = factory.CreateCounter("dynamo_vllm_kv_relay_gaps_total", "Holes in the engine's sequence of batches", "dp_rank");
        _queries = factory.CreateCounter("dynamo_vllm_kv_relay_queries_total", "Recovery queries by kind of answer", "dp_rank", "answer");
        _published = factory.CreateCounter("dynamo_vllm_event_messages_total", "Messages given to the event plane", "topic");
        _failed = factory.CreateCounter("dynamo_vllm_event_messages_failed_total", "Messages that the event plane refused", "topic");
        _subscriberDrops = factory.CreateCounter(
            "dynamo_vllm_event_messages_dropped_total",
            "Messages lost for a subscriber that was too slow",
            "topic"
        );
        _firstTokensLost = factory.CreateCounter(
            "dynamo_vllm_first_token_events_dropped_total",
            "First-token events dropped because the queue was full"
        );
        _silent = factory.CreateCounter(
            "dynamo_vllm_kv_relay_silent_total",
            "Self-tests that found cached blocks but no event of the engine",
            "dp_rank"
        );
        _connected = factory.CreateGauge("dynamo_vllm_kv_relay_connected", "1 while subscribed to the engine's events", "dp_rank");
        _indexBlocks = factory.CreateGauge("dynamo_vllm_kv_relay_index_blocks", "Blocks that routers are told of", "dp_rank");
        _lag = factory.CreateHistogram(
            "dynamo_vllm_kv_relay_lag_seconds",
            "From the engine's time stamp to the publication",
            ["dp_rank"],
            new HistogramConfiguration { Buckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5] }
        );
    }

    public RankMetrics ForRank(int rank) => new(this, rank.ToString(CultureInfo.InvariantCulture));

    /// <summary>Messages of a topic that the event plane took.</summary>
    public ICounter Published(string topic) => _published.WithLabels(topic);

    public void PublishFailed(string topic) => _failed.WithLabels(topic).Inc();

    /// <summary>Sets the total of a topic's publishers.</summary>
    public void SubscriberDrops(string topic, long total) => _subscriberDrops.WithLabels(topic).IncTo(total);

    public void FirstTokenLost() => _firstTokensLost.Inc();

    /// <summary>Counters of one rank, with their labels resolved.</summary>
    public sealed class RankMetrics
    {
        private readonly KvRelayMetrics _owner;
        private readonly string _rank;
        private readonly Counter.Child[] _received;
        private readonly Counter.Child[] _accepted;
        private readonly Counter.Child[] _droppedByReason;
        private readonly long[] _droppedSeen;

        internal RankMetrics(KvRelayMetrics owner, string rank)
        {
            _owner = owner;
            _rank = rank;
            string[] kinds = ["stored", "removed", "cleared", "ignored"];
            _received = [.. kinds.Select(kind => owner.Events(kind, "received"))];
            _accepted = [.. kinds.Select(kind => owner.Events(kind, "accepted"))];
            var reasons = Enum.GetValues<EventDropReason>();
            _droppedByReason = [.. reasons.Select(reason => owner._dropped.WithLabels(rank, NameOf(reason)))];
            _droppedSeen = new long[reasons.Length];
            Relayed = owner._batches.WithLabels(rank, "relayed");
            Empty = owner._batches.WithLabels(rank, "empty");
            Malformed = owner._batches.WithLabels(rank, "malformed");
            OtherRank = owner._batches.WithLabels(rank, "other_rank");
            StoredBlocks = owner._blocks.WithLabels(rank, "stored");
            RemovedBlocks = owner._blocks.WithLabels(rank, "removed");
            Gaps = owner._gaps.WithLabels(rank);
            Silent = owner._silent.WithLabels(rank);
            Connected = owner._connected.WithLabels(rank);
            IndexBlocks = owner._indexBlocks.WithLabels(rank);
            Lag = owner._lag.WithLabels(rank);
        }

        public ICounter Relayed { get; }

        public ICounter Empty { get; }

        public ICounter Malformed { get; }

        public ICounter OtherRank { get; }

        public ICounter StoredBlocks { get; }

        public ICounter RemovedBlocks { get; }

        public ICounter Gaps { get; }

        public ICounter Silent { get; }

        public IGauge Connected { get; }

        public IGauge IndexBlocks { get; }

        public IObserver Lag { get; }

        public void Missed(double batches) => _owner._engineDropped.Inc(batches);

        public void Received(EngineEventKind kind, int count) => Add(_received, kind, count);

        public void Accepted(EngineEventKind kind, int count) => Add(_accepted, kind, count);

        public void Answered(QueryAnswerKind kind) => _owner._queries.WithLabels(_rank, NameOf(kind)).Inc();

        /// <summary>Takes over the converter's totals.</summary>
        public void ObserveDrops(KvEventConverter converter)
        {
            for (var i = 0; i < _droppedSeen.Length; i++)
            {
                var total = converter.Dropped((EventDropReason)i);
                if (total != _droppedSeen[i])
                {
                    _droppedByReason[i].Inc(total - _droppedSeen[i]);
                    _droppedSeen[i] = total;
                }
            }
        }

        private static void Add(Counter.Child[] counters, EngineEventKind kind, int count)
        {
            if (count > 0)
            {
                counters[(int)kind].Inc(count);
            }
        }

        private static string NameOf(EventDropReason reason) =>
            reason switch
            {
                EventDropReason.Owned => "owned",
                EventDropReason.Ignored => "ignored",
                EventDropReason.Remote => "remote",
                EventDropReason.UnknownMedium => "unknown_medium",
                EventDropReason.NotMainAttention => "not_main_attention",
                EventDropReason.AmbiguousSalt => "ambiguous_salt",
                _ => "duplicate_block",
            };

        private static string NameOf(QueryAnswerKind kind) =>
            kind switch
            {
                QueryAnswerKind.TreeDump => "tree_dump",
                QueryAnswerKind.Events => "events",
                QueryAnswerKind.TooNew => "too_new",
                QueryAnswerKind.InvalidRange => "invalid_range",
                QueryAnswerKind.Failed => "failed",
                _ => "refused",
            };
    }

    private Counter.Child Events(string kind, string stage) => _zmqEvents.WithLabels(_labels[0], _labels[1], kind, stage, _labels[2]);
}
