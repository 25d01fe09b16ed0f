using System.Collections.Concurrent;
using System.Globalization;
using System.Text.Json;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Core.Metrics;
using Dynamo.Vllm.Core.Tracing;
using Dynamo.Vllm.Protocol;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Framing;
using Dynamo.Vllm.Protocol.Requests;
using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Core.Requests;

/// <summary>Takes requests of every plane: admission, the call home, the handler, and one end for each stream.</summary>
/// <remarks>
/// 1. find the endpoint; 2. admit or refuse, at once, since the caller waits for the acknowledgement; 3. read the envelope; 4. dial home;
/// 5. send the prologue; 6. run the handler; 7. map what it threw to an error item; 8. final, sentinel, close.
/// From 3 on whatever goes wrong is told on the caller's stream, or, where that cannot be reached, in the log. Thread-safe.
/// </remarks>
public sealed partial class RequestDispatcher
{
    private static readonly IReadOnlyDictionary<string, string> NoHeaders = new Dictionary<string, string>();

    private readonly ConcurrentDictionary<string, ServedEndpoint> _endpoints = new(StringComparer.Ordinal);
    private readonly ICallHomeDialer _dialer;
    private readonly AdmissionLimits _limits;
    private readonly DispatcherMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly ILogger<RequestDispatcher> _logger;
    private readonly RequestAdmission _admission;
    private readonly HandlerRun _run;
    private readonly RequestTracing? _tracing;

    public RequestDispatcher(
        ICallHomeDialer dialer,
        AdmissionLimits limits,
        DispatcherMetrics metrics,
        TimeProvider time,
        ILogger<RequestDispatcher> logger,
        RequestTracing? tracing = null
    )
    {
        _dialer = dialer;
        _limits = limits;
        _metrics = metrics;
        _time = time;
        _logger = logger;
        _admission = new RequestAdmission(limits, metrics, time);
        _run = new HandlerRun(logger);
        _tracing = tracing;
    }

    /// <summary>Requests under <paramref name="route"/> (a TCP path or NATS subject) go to the endpoint from now on.</summary>
    public void Add(string route, ServedEndpoint endpoint) => _endpoints[route] = endpoint;

    /// <summary>Later requests under the route are refused as unknown; running ones go on.</summary>
    public void Remove(string route) => _endpoints.TryRemove(route, out _);

    /// <summary>Accepts a request or says why not.</summary>
    /// <param name="route">Where it was sent to.</param>
    /// <param name="headersJson">Transport headers as a JSON object; unreadable ones count as none.</param>
    /// <param name="payload">The two-part message. Must stay valid until <paramref name="release"/> is called.</param>
    /// <param name="release">Called once, when the payload is no longer needed; also for a refused request.</param>
    /// <returns>Null if accepted, else the text of the refusal.</returns>
    public string? Accept(string route, ReadOnlyMemory<byte> headersJson, ReadOnlyMemory<byte> payload, Action? release)
    {
        if (!_endpoints.TryGetValue(route, out var endpoint))
        {
            release?.Invoke();
            LogUnknownEndpoint(_logger, route);
            return RequestAck.UnknownEndpoint(route);
        }

        RequestEnvelope envelope;
        ReadOnlyMemory<byte> body;
        string? problem;
        try
        {
            // On the ingress loop, although it costs a few microseconds there: what cannot be answered must not be acknowledged.
            (var header, body) = TwoPartMessage.Split(payload, Limits.ControlHeaderBytesMax);
            envelope = RequestEnvelope.Parse(header, out problem);
        }
        catch (ProtocolException exception)
        {
            release?.Invoke();
            endpoint.Metrics.Error("invalid_message");
            LogUnanswerable(_logger, endpoint.Id.ToString(), exception.Message);
            return RequestAck.Unanswerable(exception.Message);
        }

        if (!TryAdmit(endpoint, payload.Length))
        {
            release?.Invoke();
            return RequestAck.Overloaded;
        }

        // Never on the ingress loop: it has the next acknowledgement to send.
        Background.Run(
            static state => _ = ((Work)state!).Dispatcher.ServeAsync(((Work)state).Endpoint, (Work)state, ServeWorkAsync),
            new Work(this, endpoint, headersJson, envelope, body, problem, release)
        );
        return null;
    }

    /// <summary>Serves a request whose caller needs no call home, to its end; limits, books and metrics are those of any other.</summary>
    /// <param name="endpoint">Whose request it counts as.</param>
    /// <param name="handler">Serves it, in place of the endpoint's own.</param>
    /// <param name="context">The request.</param>
    /// <param name="home">Its caller, who disposes of it.</param>
    /// <param name="requestBytes">Its size.</param>
    /// <returns>False: too many run and wait. Its caller was told nothing.</returns>
    public async Task<bool> TryServeAsync(
        ServedEndpoint endpoint,
        IEndpointHandler handler,
        RequestContext context,
        ICallHome home,
        int requestBytes
    )
    {
        if (!TryAdmit(endpoint, requestBytes))
        {
            return false;
        }

        await ServeAsync(
            endpoint,
            (Handler: handler, Context: context, Home: home),
            (dispatcher, call, started) =>
                dispatcher.RunAsync(
                    endpoint,
                    call.Context,
                    started,
                    () => dispatcher.AnswerAtHomeAsync(endpoint, call.Handler, call.Context, call.Home, problem: null, started)
                )
        );
        return true;
    }

    private bool TryAdmit(ServedEndpoint endpoint, int requestBytes)
    {
        if (!_admission.TryAdmit())
        {
            LogOverloaded(_logger, _limits.Running, _limits.Queued);
            return false;
        }

        endpoint.Ledger.Accept();
        endpoint.Metrics.Requests.Inc();
        endpoint.Metrics.RequestBytes.Inc(requestBytes);
        return true;
    }

    /// <summary>Waits for a place, serves, and closes the books on it.</summary>
    private async Task ServeAsync<T>(ServedEndpoint endpoint, T request, Func<RequestDispatcher, T, long, Task<RequestEnd>> serve)
    {
        var started = _time.GetTimestamp();
        var end = RequestEnd.Unanswered;
        try
        {
            await _admission.EnterAsync();
            end = await serve(this, request, started);
        }
        catch (Exception exception)
        {
            // Loop supervision (style E3): one request must not take the process down.
            LogUnexpected(_logger, endpoint.Id.ToString(), exception);
        }
        finally
        {
            endpoint.Ledger.End(end);
            _admission.Leave();
        }
    }

    private static Task<RequestEnd> ServeWorkAsync(RequestDispatcher dispatcher, Work work, long started)
    {
        var envelope = work.Envelope;
        var context = new RequestContext(envelope.Id, envelope.Codec, work.Body, ReadHeaders(work.HeadersJson), work.Release);
        var problem = work.Problem ?? (envelope.IsStreamingInput ? "this endpoint takes no streaming input" : null);
        return dispatcher.RunAsync(
            work.Endpoint,
            context,
            started,
            () => dispatcher.AnswerAsync(work.Endpoint, envelope, context, problem, started)
        );
    }

    private async Task<RequestEnd> RunAsync(ServedEndpoint endpoint, RequestContext context, long started, Func<Task<RequestEnd>> answer)
    {
        var metrics = endpoint.Metrics;
        context.Trace = _tracing?.Begin(endpoint.Id, context, _time.GetElapsedTime(started));
        ObserveTransit(context);
        endpoint.Enter(context);
        metrics.InFlight.Inc();
        var end = RequestEnd.Unanswered;
        try
        {
            return end = await answer();
        }
        finally
        {
            context.Trace?.End(end, context.Cause);
            context.ReleaseBody();
            metrics.InFlight.Dec();
            metrics.Duration.Observe(_time.GetElapsedTime(started).TotalSeconds);
            endpoint.Leave(context);
        }
    }

    private async Task<RequestEnd> AnswerAsync(
        ServedEndpoint endpoint,
        RequestEnvelope envelope,
        RequestContext context,
        string? problem,
        long started
    )
    {
        ICallHome home;
        try
        {
            // Not with the request's token: before the call home only the end of
            // this worker can have fired it, and that the caller must be told.
            home = await _dialer.DialAsync(envelope, CancellationToken.None);
        }
        catch (Exception exception)
        {
            // Boundary mapping (style E3): whatever keeps us from the caller, the request ends here, and in the log.
            endpoint.Metrics.Error("response_stream");
            using (context.Trace?.Speak())
            {
                LogCannotDial(_logger, context.Id, envelope.ResponseAddress, exception.Message);
            }

            await _run.UnheardAsync(endpoint, context);
            return RequestEnd.Unanswered;
        }

        await using (home)
        {
            return await AnswerAtHomeAsync(endpoint, endpoint.Handler, context, home, problem, started);
        }
    }

    private async Task<RequestEnd> AnswerAtHomeAsync(
        ServedEndpoint endpoint,
        IEndpointHandler handler,
        RequestContext context,
        ICallHome home,
        string? problem,
        long started
    )
    {
        home.ItemSent = endpoint.NotifyResponded;
        home.Watch(context);
        var isStarted = false;
        try
        {
            if (problem is not null)
            {
                endpoint.Metrics.Error("invalid_message");
                var refusal = DynamoError.InvalidRequest(problem);
                await home.RefuseAsync(refusal);
                return RequestEnd.Of(refusal);
            }

            await home.AcceptAsync();
            _metrics.TimeToFirstResponse.Observe(_time.GetElapsedTime(started).TotalSeconds);
            isStarted = true;
            return await _run.AnswerAsync(endpoint, handler, context, home);
        }
        catch (Exception exception) when (exception is IOException or System.Net.Sockets.SocketException or ObjectDisposedException)
        {
            using (context.Trace?.Speak())
            {
                LogCallerGone(_logger, context.Id, exception.Message);
            }

            if (!isStarted)
            {
                await _run.UnheardAsync(endpoint, context);
            }

            context.Cancel(CancellationCause.Disconnect);
            return RequestEnd.Cancelled;
        }
        finally
        {
            endpoint.Metrics.ResponseBytes.Inc(home.BodyBytes);
            if (context.IsCallerGone)
            {
                endpoint.Metrics.Cancellations.Inc();
                using (context.Trace?.Speak())
                {
                    LogCancelled(_logger, context.Id, context.Cause);
                }
            }
        }
    }

    private void ObserveTransit(RequestContext context)
    {
        if (
            context.Headers.TryGetValue("x-frontend-send-ts-ns", out var text)
            && long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var sentNanoseconds)
        )
        {
            var now = _time.GetUtcNow().UtcTicks - DateTime.UnixEpoch.Ticks;
            _metrics.Transit.Observe(Math.Max(0, (now - (sentNanoseconds / 100)) / (double)TimeSpan.TicksPerSecond));
        }
    }

    private static IReadOnlyDictionary<string, string> ReadHeaders(ReadOnlyMemory<byte> json)
    {
        try
        {
            return JsonSerializer.Deserialize(json.Span, RequestHeadersContext.Default.DictionaryStringString) ?? NoHeaders;
        }
        catch (JsonException)
        {
            return NoHeaders; // tolerated by the reference, too (request-plane.md, 1.1)
        }
    }

    [LoggerMessage(EventId = 2001, Level = LogLevel.Warning, Message = "Refused a request for unknown endpoint {Route}")]
    private static partial void LogUnknownEndpoint(ILogger logger, string route);

    [LoggerMessage(
        EventId = 2002,
        Level = LogLevel.Warning,
        Message = "Refused a request: {Running} are running and {Queued} waiting, which is the limit"
    )]
    private static partial void LogOverloaded(ILogger logger, int running, int queued);

    [LoggerMessage(EventId = 2003, Level = LogLevel.Error, Message = "A request to {Endpoint} cannot be answered: {Problem}")]
    private static partial void LogUnanswerable(ILogger logger, string endpoint, string problem);

    [LoggerMessage(
        EventId = 2004,
        Level = LogLevel.Warning,
        Message = "Request {RequestId}: cannot connect to the caller at {Address}: {Problem}"
    )]
    private static partial void LogCannotDial(ILogger logger, string requestId, string address, string problem);

    [LoggerMessage(EventId = 2005, Level = LogLevel.Debug, Message = "Request {RequestId}: the caller is gone: {Problem}")]
    private static partial void LogCallerGone(ILogger logger, string requestId, string problem);

    [LoggerMessage(EventId = 2006, Level = LogLevel.Debug, Message = "Request {RequestId} was cancelled by {Cause}")]
    private static partial void LogCancelled(ILogger logger, string requestId, CancellationCause cause);

    [LoggerMessage(EventId = 2009, Level = LogLevel.Error, Message = "Serving a request to {Endpoint} broke")]
    private static partial void LogUnexpected(ILogger logger, string endpoint, Exception exception);

    private sealed record Work(
        RequestDispatcher Dispatcher,
        ServedEndpoint Endpoint,
        ReadOnlyMemory<byte> HeadersJson,
        RequestEnvelope Envelope,
        ReadOnlyMemory<byte> Body,
        string? Problem,
        Action? Release
    );
}
