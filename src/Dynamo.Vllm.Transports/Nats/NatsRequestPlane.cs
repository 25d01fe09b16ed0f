using System.Buffers;
using System.Text;
using System.Text.Json;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.Framing;
using Dynamo.Vllm.Protocol.Nats;
using Microsoft.Extensions.Logging;
using NATS.Client.Core;

namespace Dynamo.Vllm.Transports.Nats;

/// <summary>
/// One subject for each endpoint; requests are acknowledged at once and answered over call-home TCP (request-plane.md, 5).
/// </summary>
/// <remarks>
/// A subscription has one loop, which only hands requests to the dispatcher. Golden files: tests/golden/runtime/nats_server_to_worker.bin,
/// nats_worker_to_server.bin.
/// </remarks>
public sealed partial class NatsRequestPlane : IRequestPlane
{
    private readonly NatsLink _link;
    private readonly RequestDispatcher _dispatcher;
    private readonly TimeProvider _time;
    private readonly ILogger<NatsRequestPlane> _logger;
    private readonly Lock _lock = new();
    private readonly List<NatsEndpoint> _endpoints = [];
    private readonly NatsMicroServices _services;

    /// <param name="link">Not disposed by the plane.</param>
    public NatsRequestPlane(NatsLink link, RequestDispatcher dispatcher, TimeProvider time, ILogger<NatsRequestPlane> logger)
    {
        _link = link;
        _dispatcher = dispatcher;
        _time = time;
        _logger = logger;
        _services = new NatsMicroServices(link, time, logger);
    }

    public string? Hindrance => _link.Hindrance;

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        await _link.ConnectAsync(cancellationToken).ConfigureAwait(false);
        _link.Connection.MessageDropped += OnDroppedAsync;
    }

    public async Task<TransportAddress> BindAsync(ServedEndpoint endpoint, InstanceId instance, CancellationToken cancellationToken)
    {
        var address = TransportAddress.Nats(instance, endpoint.Id);
        lock (_lock)
        {
            if (_endpoints.Any(bound => bound.Subject == address.Value))
            {
                return address; // served before, withdrawn and served again
            }
        }

        _dispatcher.Add(address.Value, endpoint);
        NatsEndpoint? bound = null;
        try
        {
            bound = await SubscribeAsync(endpoint, instance, address.Value, cancellationToken).ConfigureAwait(false);
            await ConfirmAsync(address.Value, cancellationToken).ConfigureAwait(false);
            await _services.AddAsync(bound, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            // Undone and thrown on, so that the next try starts from nothing.
            await AbandonAsync(address.Value, bound).ConfigureAwait(false);
            if (exception is NatsException)
            {
                throw new IOException($"NATS: cannot subscribe to {address.Value}: {exception.Message}", exception);
            }

            throw;
        }

        lock (_lock)
        {
            _endpoints.Add(bound);
        }

        return address;
    }

    public async Task UnbindAsync(ServedEndpoint endpoint, InstanceId instance)
    {
        // Subjects of earlier identities, too: all of them lead to the endpoint that takes no more requests.
        NatsEndpoint[] bound;
        lock (_lock)
        {
            bound = [.. _endpoints.Where(candidate => candidate.Endpoint == endpoint)];
            _endpoints.RemoveAll(candidate => candidate.Endpoint == endpoint);
        }

        foreach (var one in bound)
        {
            await UnbindAsync(one).ConfigureAwait(false);
        }
    }

    public async ValueTask DisposeAsync()
    {
        NatsEndpoint[] bound;
        lock (_lock)
        {
            bound = [.. _endpoints];
            _endpoints.Clear();
        }

        foreach (var one in bound)
        {
            await UnbindAsync(one).ConfigureAwait(false);
        }

        await _services.DisposeAsync().ConfigureAwait(false);
    }

    /// <summary>Headers as the dispatcher takes them; of a repeated header the last value.</summary>
    internal static ReadOnlyMemory<byte> HeadersJson(NatsHeaders? headers)
    {
        if (headers is null || headers.Count == 0)
        {
            return "{}"u8.ToArray();
        }

        var buffer = new ArrayBufferWriter<byte>(256);
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            foreach (var (name, values) in headers)
            {
                json.WriteString(name, values.Count > 0 ? values[^1] : "");
            }

            json.WriteEndObject();
        }

        return buffer.WrittenMemory;
    }

    /// <summary>The answer to a ping proves that the server has read the subscription, before anybody is told of it.</summary>
    /// <remarks>A refusal was sent before that answer, and <see cref="NatsErrorWatch"/> hears it first.</remarks>
    private async Task ConfirmAsync(string subject, CancellationToken cancellationToken)
    {
        string? refusal = null;
        void Look(string error)
        {
            if (error.Contains($"\"{subject}\"", StringComparison.OrdinalIgnoreCase))
            {
                refusal = error;
            }
        }

        _link.Refused += Look;
        try
        {
            await _link.Connection.PingAsync(cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _link.Refused -= Look;
        }

        if (refusal is not null)
        {
            throw new IOException($"NATS does not let this worker subscribe to {subject} ({refusal}); give its user the permission");
        }
    }

    private async Task<NatsEndpoint> SubscribeAsync(
        ServedEndpoint endpoint,
        InstanceId instance,
        string subject,
        CancellationToken cancellationToken
    )
    {
        var subscription = await _link
            .Connection.SubscribeCoreAsync(subject, MicroService.QueueGroup, NatsPayload.Reader, cancellationToken: cancellationToken)
            .ConfigureAwait(false);
        var bound = new NatsEndpoint(endpoint, instance, subscription);
        bound.Reading = Task.Run(() => ReadAsync(bound), CancellationToken.None);
        return bound;
    }

    private async Task AbandonAsync(string subject, NatsEndpoint? bound)
    {
        if (bound is null)
        {
            _dispatcher.Remove(subject);
        }
        else
        {
            await UnbindAsync(bound).ConfigureAwait(false);
        }
    }

    private async Task UnbindAsync(NatsEndpoint bound)
    {
        try
        {
            // Unsubscribes, and waits until what the server had sent before is here.
            await bound.Subscription.DrainAsync(CancellationToken.None).ConfigureAwait(false);
            await bound.Reading.ConfigureAwait(false);
        }
        catch (Exception exception)
            when (exception is NatsException or IOException or OperationCanceledException or ObjectDisposedException)
        {
            // Best-effort cleanup (style E3): without a connection nothing arrives either.
            LogCannotUnsubscribe(_logger, bound.Subject, exception.Message);
        }

        _dispatcher.Remove(bound.Subject);
        _services.Remove(bound);
    }

    private async Task ReadAsync(NatsEndpoint bound)
    {
        await foreach (var message in bound.Subscription.Msgs.ReadAllAsync().ConfigureAwait(false))
        {
            var started = _time.GetTimestamp();
            if (message.Data is not { } payload)
            {
                LogUnreadable(_logger, bound.Subject, message.Error?.Message ?? "no body");
                continue;
            }

            var refusal = _dispatcher.Accept(bound.Subject, HeadersJson(message.Headers), payload.Memory, payload.Release);
            await AnswerAsync(message.ReplyTo, refusal).ConfigureAwait(false);
            bound.Count(refusal, _time.GetElapsedTime(started));
        }
    }

    /// <summary>Empty means accepted; the two texts of <see cref="RequestAck"/> mean refused, as on TCP.</summary>
    private async ValueTask AnswerAsync(string? replyTo, string? refusal)
    {
        if (string.IsNullOrEmpty(replyTo))
        {
            return;
        }

        try
        {
            if (refusal is null)
            {
                await _link.Connection.PublishAsync(replyTo).ConfigureAwait(false);
                return;
            }

            await _link
                .Connection.PublishAsync<ReadOnlyMemory<byte>>(
                    replyTo,
                    Encoding.UTF8.GetBytes(refusal),
                    serializer: NatsRawSerializer<ReadOnlyMemory<byte>>.Default
                )
                .ConfigureAwait(false);
        }
        catch (Exception exception)
            when (exception is NatsException or IOException or OperationCanceledException or ObjectDisposedException)
        {
            LogCannotAcknowledge(_logger, exception.Message); // the request runs all the same; its caller may have given up
        }
    }

    /// <summary>
    /// Full means that requests come faster than they can be handed on: told to the caller, who would wait 10 s for nothing.
    /// </summary>
    private async ValueTask OnDroppedAsync(object? sender, NatsMessageDroppedEventArgs args)
    {
        if (args.Data is NatsPayload payload)
        {
            payload.Release();
            LogDropped(_logger, args.Subject, args.Pending);
            await AnswerAsync(args.ReplyTo, RequestAck.Overloaded).ConfigureAwait(false);
        }
    }

    [LoggerMessage(EventId = 3507, Level = LogLevel.Warning, Message = "Cannot unsubscribe from {Subject}: {Problem}")]
    private static partial void LogCannotUnsubscribe(ILogger logger, string subject, string problem);

    [LoggerMessage(EventId = 3508, Level = LogLevel.Warning, Message = "Unreadable message on {Subject}: {Problem}")]
    private static partial void LogUnreadable(ILogger logger, string subject, string problem);

    [LoggerMessage(EventId = 3509, Level = LogLevel.Warning, Message = "Cannot acknowledge a request over NATS: {Problem}")]
    private static partial void LogCannotAcknowledge(ILogger logger, string problem);

    [LoggerMessage(EventId = 3510, Level = LogLevel.Warning, Message = "Refused a request on {Subject}: {Pending} others wait to be read")]
    private static partial void LogDropped(ILogger logger, string subject, int pending);
}
