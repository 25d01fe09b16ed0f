using System.Buffers;
using System.Globalization;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.KvEvents;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>The endpoint <c>worker_kv_query_source_{publisher}</c>: gives routers what they missed.</summary>
/// <remarks>A router that has its answer drops the stream, which looks like a cancellation and is none.</remarks>
internal sealed partial class KvQueryHandler : IEndpointHandler
{
    private readonly int _rank;
    private readonly RankEventLog _log;
    private readonly WorkerRegistration _registration;
    private readonly KvRelayMetrics.RankMetrics _metrics;
    private readonly ILogger _logger;

    // Full means dumps are being made for as many routers; the next one waits, and its router has 30 s.
    private readonly SemaphoreSlim _turns;

    public KvQueryHandler(
        int rank,
        RankEventLog log,
        WorkerRegistration registration,
        KvRelayMetrics.RankMetrics metrics,
        SemaphoreSlim turns,
        ILogger logger
    )
    {
        _rank = rank;
        _log = log;
        _registration = registration;
        _metrics = metrics;
        _turns = turns;
        _logger = logger;
    }

    public static string EndpointName(PublisherId publisher) => $"worker_kv_query_source_{publisher.Hex}";

    public async Task HandleAsync(RequestContext context, IResponseWriter responses)
    {
        var query = KvQuery.Parse(context.Body.Span, context.Codec);
        var output = new ArrayBufferWriter<byte>(1024);
        await _turns.WaitAsync();
        QueryAnswerKind kind;
        try
        {
            kind = Answer(query, output);
        }
        finally
        {
            _turns.Release();
        }

        _metrics.Answered(kind);
        LogAnswered(_logger, _rank, query.Start, kind, output.WrittenCount);
        await responses.WriteBareAsync(output.WrittenMemory);
    }

    private QueryAnswerKind Answer(KvQuery query, ArrayBufferWriter<byte> output)
    {
        var worker = _registration.Instance;
        var refusal = query switch
        {
            { IsRecovery: false } => "WorkerKvQueryEngine::generate this worker answers recovery queries only",
            _ when query.WorkerId != worker.Value => string.Create(
                CultureInfo.InvariantCulture,
                $"WorkerKvQueryEngine::generate worker_id mismatch: request.worker_id={query.WorkerId} this.worker_id={worker.Value}"
            ),
            _ when query.Rank != (uint)_rank => string.Create(
                CultureInfo.InvariantCulture,
                $"WorkerKvQueryEngine::generate dp_rank mismatch: request.dp_rank={query.Rank} this.dp_rank={_rank}"
            ),
            _ => null,
        };
        if (refusal is null)
        {
            return _log.Answer(worker, query, output);
        }

        KvQueryAnswer.WriteError(output, refusal);
        return QueryAnswerKind.Refused;
    }

    [LoggerMessage(
        EventId = 2420,
        Level = LogLevel.Debug,
        Message = "Rank {Rank}: recovery query from {Start} answered with {Kind}, {Bytes} bytes"
    )]
    private static partial void LogAnswered(ILogger logger, int rank, ulong? start, QueryAnswerKind kind, int bytes);
}
