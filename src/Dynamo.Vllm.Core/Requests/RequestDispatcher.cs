using System.Collections.Concurrent;
using System.Globalization;
using System.Text.Json;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Core.Metrics;
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
    private readonly SemaphoreSlim _slots;
    private int _admitted;

    public RequestDispatcher(
        ICallHomeDialer dialer,
        AdmissionLimits limits,
        DispatcherMetrics metrics,
        TimeProvider time,
        ILogger<RequestDispatcher> logger
    )
    {
        _dialer = dialer;
        _limits = limits;
        _metrics = metrics;
        _time = time;
        _logger = logger;
        _slots = new SemaphoreSlim(limits.Running, limits.Running);
        metrics.PoolCapacity.Set(limits.Running);
        metrics.QueueCapacity.Set(limits.Queued);
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

        if (Interlocked.Increment(ref _admitted) > (long)_limits.Running + _limits.Queued)
        {
            Interlocked.Decrement(ref _admitted);
            release?.Invoke();
            _metrics.EnqueueRejected.Inc();
            _metrics.Rejected.Inc();
            LogOverloaded(_logger, _limits.Running, _limits.Queued);
            return RequestAck.Overloaded;
        }

        endpoint.Ledger.Accept();
        endpoint.Metrics.Requests.Inc();
        endpoint.Metrics.RequestBytes.Inc(payload.Length);
        // Never on the ingress loop: it has the next acknowledgement to send.
        Background.Run(
            static state => _ = ((Work)state!).Dispatcher.ServeAsync((Work)state),
            new Work(this, endpoint, headersJson, envelope, body, problem, release)
        );
        return null;
    }

    private async Task ServeAsync(Work work)
    {
        var started = _time.GetTimestamp();
        var end = RequestEnd.Unanswered;
        try
        {
            await EnterAsync();
            _metrics.PermitWait.Observe(_time.GetElapsedTime(started).TotalSeconds);
            end = await ServeAsync(work, started);
        }
        catch (Exception exception)
        {
            // Loop supervision (style E3): one request must not take the process down.
            LogUnexpected(_logger, work.Endpoint.Id.ToString(), exception);
        }
        finally
        {
            work.Endpoint.Ledger.End(end);
            _metrics.PoolActive.Dec();
            _metrics.EngineRequests.Dec();
            Interlocked.Decrement(ref _admitted);
            _slots.Release();
        }
    }

    private async Task EnterAsync()
    {
        if (!_slots.Wait(0, CancellationToken.None))
        {
            _metrics.QueueDepth.Inc();
            _metrics.QueuedRequests.Inc();
            await _slots.WaitAsync();
            _metrics.QueueDepth.Dec();
            _metrics.QueuedRequests.Dec();
        }

        _metrics.PoolActive.Inc();
        _metrics.EngineRequests.Inc();
    }

    private async Task<RequestEnd> ServeAsync(Work work, long started)
    {
        var metrics = work.Endpoint.Metrics;
        var envelope = work.Envelope;
        var context = new RequestContext(envelope.Id, envelope.Codec, work.Body, ReadHeaders(work.HeadersJson), work.Release);
        ObserveTransit(context);
        work.Endpoint.Enter(context);
        metrics.InFlight.Inc();
        try
        {
            var problem = work.Problem ?? (envelope.IsStreamingInput ? "this endpoint takes no streaming input" : null);
            return await AnswerAsync(work.Endpoint, envelope, context, problem, started);
        }
        finally
        {
            context.ReleaseBody();
            metrics.InFlight.Dec();
            metrics.Duration.Observe(_time.GetElapsedTime(started).TotalSeconds);
            work.Endpoint.Leave(context);
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
            LogCannotDial(_logger, context.Id, envelope.ResponseAddress, exception.Message);
            await RunUnheardAsync(endpoint, context);
            return RequestEnd.Unanswered;
        }

        await using (home)
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
                return await RunHandlerAsync(endpoint, context, home);
            }
            catch (Exception exception) when (exception is IOException or System.Net.Sockets.SocketException or ObjectDisposedException)
            {
                LogCallerGone(_logger, context.Id, exception.Message);
                if (!isStarted)
                {
                    await RunUnheardAsync(endpoint, context);
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
                    LogCancelled(_logger, context.Id, context.Cause);
                }
            }
        }
    }

    /// <summary>
    /// The caller left before it could be reached. The handler still decides: a decode worker has to pull blocks that nobody else releases.
    /// </summary>
    private async Task RunUnheardAsync(ServedEndpoint endpoint, RequestContext context)
    {
        context.Cancel(CancellationCause.Disconnect);
        try
        {
            await endpoint.Handler.HandleAsync(context, DiscardedResponses.Instance);
        }
        catch (Exception exception) when (exception is RequestFailedException or ProtocolException or OperationCanceledException)
        {
            LogRequestFailed(_logger, context.Id, "transport.disconnected", exception.Message);
        }
    }

    private async Task<RequestEnd> RunHandlerAsync(ServedEndpoint endpoint, RequestContext context, ICallHome home)
    {
        DynamoError? error = null;
        try
        {
            if (endpoint.TurnAway is { } turnedAway)
            {
                throw new RequestFailedException(turnedAway);
            }

            await endpoint.Handler.HandleAsync(context, home);
        }
        catch (RequestFailedException exception)
        {
            error = exception.Error;
        }
        catch (ProtocolException exception)
        {
            endpoint.Metrics.Error("deserialization");
            error = DynamoError.InvalidArgument(exception.Message);
        }
        catch (OperationCanceledException) when (context.Cancelled.IsCancellationRequested)
        {
            error = DynamoError.EngineShutdown("The worker is shutting down.");
        }
        catch (Exception exception) when (exception is not (IOException or System.Net.Sockets.SocketException or ObjectDisposedException))
        {
            // Boundary mapping (style E3): whatever a handler throws, the caller gets an answer.
            LogHandlerFailed(_logger, context.Id, endpoint.Id.ToString(), exception);
            error = DynamoError.Unknown($"{exception.GetType().Name}: {exception.Message}");
        }

        if (context.IsCallerGone)
        {
            return RequestEnd.Cancelled; // neither final nor sentinel (request-plane.md, 3)
        }

        if (error is not null)
        {
            if (error.Class != DynamoError.InvalidRequestClass)
            {
                endpoint.Metrics.Error("generate"); // faults of ours: a client's mistake is none
            }

            LogRequestFailed(_logger, context.Id, error.Reason, error.Message);
            await home.WriteErrorAsync(error);
        }

        await home.CompleteAsync();
        return error is null ? RequestEnd.Finished : RequestEnd.Of(error);
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
