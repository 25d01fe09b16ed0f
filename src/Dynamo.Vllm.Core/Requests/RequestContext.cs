using Dynamo.Vllm.Core.Tracing;
using Dynamo.Vllm.Protocol;

namespace Dynamo.Vllm.Core.Requests;

/// <summary>One request while it is served: identity, body, and who cancelled it. Thread-safe.</summary>
public sealed class RequestContext
{
    private readonly CancellationTokenSource _cancellation = new();
    private Action? _releaseBody;
    private int _cause;

    /// <param name="id">Of the caller.</param>
    /// <param name="codec">Of body and answers.</param>
    /// <param name="body">Encoded request.</param>
    /// <param name="headers">Transport headers.</param>
    /// <param name="releaseBody">Called once, when nobody needs <paramref name="body"/> any more.</param>
    public RequestContext(
        string id,
        PayloadCodec codec,
        ReadOnlyMemory<byte> body,
        IReadOnlyDictionary<string, string> headers,
        Action? releaseBody = null
    )
    {
        Id = id;
        Codec = codec;
        Body = body;
        Headers = headers;
        _releaseBody = releaseBody;
    }

    public string Id { get; }

    public PayloadCodec Codec { get; }

    /// <summary>Encoded request. Valid until <see cref="ReleaseBody"/>, at the latest until the handler has returned.</summary>
    public ReadOnlyMemory<byte> Body { get; private set; }

    /// <summary>Transport headers, such as the trace context.</summary>
    public IReadOnlyDictionary<string, string> Headers { get; }

    /// <summary>Its spans; null where it is not traced.</summary>
    public RequestTrace? Trace { get; set; }

    /// <summary>Fires once, for any cause.</summary>
    public CancellationToken Cancelled => _cancellation.Token;

    public CancellationCause Cause => (CancellationCause)Volatile.Read(ref _cause);

    /// <summary>The caller is gone or wants nothing more: nothing further is sent to it.</summary>
    public bool IsCallerGone => Cause is CancellationCause.Kill or CancellationCause.Stop or CancellationCause.Disconnect;

    /// <summary>The handler has decoded the body: its memory, which may be a long prompt's, is not kept while tokens are made.</summary>
    public void ReleaseBody()
    {
        if (Interlocked.Exchange(ref _releaseBody, null) is { } release)
        {
            Body = default;
            release();
        }
    }

    /// <summary>Cancels; the first cause stays, except that a caller who leaves during shutdown counts as gone.</summary>
    public void Cancel(CancellationCause cause)
    {
        var previous = Interlocked.CompareExchange(ref _cause, (int)cause, (int)CancellationCause.None);
        if (previous == (int)CancellationCause.Shutdown && cause != CancellationCause.Shutdown)
        {
            Interlocked.Exchange(ref _cause, (int)cause);
        }

        if (previous == (int)CancellationCause.None)
        {
            _cancellation.Cancel();
        }
    }

    /// <summary>Trace headers for the engine, or null without a trace context (behaviour.md, 11).</summary>
    public IReadOnlyDictionary<string, string>? TraceHeaders()
    {
        var parent = Trace?.EngineParent ?? Headers.GetValueOrDefault("traceparent");
        if (parent is null)
        {
            return null;
        }

        var headers = new Dictionary<string, string> { ["traceparent"] = parent };
        foreach (var name in (string[])["tracestate", "x-request-id", "request-id"])
        {
            if (Headers.TryGetValue(name, out var value))
            {
                headers[name] = value;
            }
        }

        return headers;
    }
}
