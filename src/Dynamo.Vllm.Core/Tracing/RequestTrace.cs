using System.Diagnostics;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Requests;

namespace Dynamo.Vllm.Core.Tracing;

/// <summary>The spans of one request: the whole of it, and within it the engine's part.</summary>
/// <remarks>
/// <see cref="End"/> ends what is open, so that each span ends once, whatever became of the request. No prompt, no token and no text of an
/// error is in them. Used by one request's flow, one call at a time.
/// </remarks>
public sealed class RequestTrace
{
    private readonly ActivitySource _source;
    private readonly TimeSpan _waited;
    private readonly TimeProvider _time;
    private readonly Activity _request;
    private Activity? _engine;
    private long _engineStart;
    private long _firstToken;
    private long _lastToken;
    private long _tokens;
    private int? _promptTokens;
    private int? _cachedTokens;
    private FinishReason _finish;

    internal RequestTrace(ActivitySource source, Activity request, TimeSpan waited, TimeProvider time)
    {
        _source = source;
        _request = request;
        _waited = waited;
        _time = time;
    }

    /// <summary>Of the engine's part, for the engine's own spans; null before it has begun.</summary>
    public string? EngineParent => _engine is { } span ? $"00-{span.TraceId}-{span.SpanId}-01" : null;

    /// <summary>The request was found acceptable and goes to the engine.</summary>
    /// <param name="role">In the reference's words: agg, prefill, decode.</param>
    /// <param name="model">That was asked for.</param>
    /// <param name="requestId">Of the request.</param>
    public void BeginEngine(string role, string? model, string requestId)
    {
        _engineStart = _time.GetTimestamp();
        _engine = _source.StartActivity(
            "engine.generate",
            ActivityKind.Internal,
            _request.Context,
            tags: null,
            links: null,
            _time.GetUtcNow()
        );
        Activity.Current = null;
        _engine?.SetTag("target", "request_span");
        _engine?.SetTag("request_id", requestId);
        _engine?.SetTag("model", model);
        _engine?.SetTag("disagg_role", role);
        _engine?.SetTag("queue_ms", _waited.TotalMilliseconds);
    }

    /// <summary>What is logged until the result is disposed of is about this request.</summary>
    public IDisposable Speak()
    {
        Activity.Current = _request;
        return Silence.Instance;
    }

    public void Observe(EngineOutput output)
    {
        if (!output.Tokens.IsEmpty)
        {
            _lastToken = _time.GetTimestamp();
            _firstToken = _firstToken == 0 ? _lastToken : _firstToken;
        }

        _tokens += output.Tokens.Length;
        _promptTokens = output.PromptTokens ?? _promptTokens;
        _cachedTokens = output.CachedTokens ?? _cachedTokens;
        if (output.Finish != FinishReason.None)
        {
            _finish = output.Finish;
        }

        if (output.IsLast)
        {
            _engine?.SetEndTime(_time.GetUtcNow().UtcDateTime);
        }
    }

    /// <summary>The request is over.</summary>
    /// <param name="end">What became of it.</param>
    /// <param name="cause">Who cancelled it, if anybody did.</param>
    public void End(RequestEnd end, CancellationCause cause)
    {
        var reason = end.Reason.Length > 0 ? end.Reason : null;
        if (_engine is { } engine)
        {
            engine.SetTag("input_tokens", _promptTokens);
            engine.SetTag("cached_tokens", _cachedTokens);
            engine.SetTag("output_tokens", _tokens);
            engine.SetTag("finish_reason", FinishText(end));
            if (_firstToken != 0)
            {
                engine.SetTag("ttft_ms", _time.GetElapsedTime(_engineStart, _firstToken).TotalMilliseconds);
                if (_tokens > 1)
                {
                    engine.SetTag("avg_itl_ms", _time.GetElapsedTime(_firstToken, _lastToken).TotalMilliseconds / (_tokens - 1));
                }
            }

            Stop(engine, end, reason);
        }

        if (cause != CancellationCause.None)
        {
            _request.SetTag("cancelled_by", cause.ToString().ToLowerInvariant());
        }

        _request.SetTag("outcome", end.Outcome.ToString().ToLowerInvariant());
        Stop(_request, end, reason);
    }

    private void Stop(Activity span, RequestEnd end, string? reason)
    {
        if (reason is not null)
        {
            span.SetTag("error_kind", reason);
        }

        if (end.Outcome is RequestOutcome.Failed or RequestOutcome.HandedBack or RequestOutcome.Unanswered)
        {
            span.SetStatus(ActivityStatusCode.Error, reason ?? end.Outcome.ToString().ToLowerInvariant());
        }

        if (span.Duration == TimeSpan.Zero)
        {
            span.SetEndTime(_time.GetUtcNow().UtcDateTime);
        }

        span.Stop();
        Activity.Current = null;
    }

    private string FinishText(RequestEnd end) =>
        end.Outcome switch
        {
            RequestOutcome.Cancelled => "cancelled",
            RequestOutcome.Failed or RequestOutcome.HandedBack => "error",
            _ => _finish switch
            {
                FinishReason.None => "none",
                FinishReason.Abort => "cancelled",
                FinishReason.NoOutputs => "error",
                _ => _finish.ToString().ToLowerInvariant(),
            },
        };

    private sealed class Silence : IDisposable
    {
        public static readonly Silence Instance = new();

        public void Dispose() => Activity.Current = null;
    }
}
