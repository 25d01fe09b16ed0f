using System.Security.Cryptography;
using Dynamo.Vllm.Protocol.Nats;
using Microsoft.Extensions.Logging;
using NATS.Client.Core;

namespace Dynamo.Vllm.Transports.Nats;

/// <summary>Answers the questions of NATS tools about this worker: one service for each component (request-plane.md, 5).</summary>
internal sealed partial class NatsMicroServices : IAsyncDisposable
{
    private const string IdLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    private const int IdLength = 22;

    private readonly NatsLink _link;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly Lock _lock = new();
    private readonly Dictionary<string, Service> _services = [];

    public NatsMicroServices(NatsLink link, TimeProvider time, ILogger logger)
    {
        _link = link;
        _time = time;
        _logger = logger;
    }

    public async Task AddAsync(NatsEndpoint endpoint, CancellationToken cancellationToken)
    {
        var id = endpoint.Endpoint.Id;
        var description = new MicroService(
            id.Namespace,
            id.Component,
            RandomNumberGenerator.GetString(IdLetters, IdLength),
            _time.GetUtcNow().UtcDateTime
        );
        Service? added = null;
        lock (_lock)
        {
            if (!_services.TryGetValue(description.Name, out var service))
            {
                added = service = _services[description.Name] = new Service(description);
            }

            service.Endpoints.Add(endpoint);
        }

        if (added is not null)
        {
            await SubscribeAsync(added, cancellationToken).ConfigureAwait(false);
        }
    }

    public void Remove(NatsEndpoint endpoint)
    {
        lock (_lock)
        {
            foreach (var service in _services.Values)
            {
                service.Endpoints.Remove(endpoint);
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        INatsSub<NatsPayload>[] open;
        lock (_lock)
        {
            open = [.. _services.Values.SelectMany(service => service.Subscriptions)];
            _services.Clear();
        }

        foreach (var subscription in open)
        {
            try
            {
                await subscription.UnsubscribeAsync().ConfigureAwait(false);
            }
            catch (Exception exception)
                when (exception is NatsException or IOException or ObjectDisposedException or OperationCanceledException)
            {
                // Best-effort cleanup (style E3): the connection ends anyway.
            }
        }
    }

    private async Task SubscribeAsync(Service service, CancellationToken cancellationToken)
    {
        var (name, id) = (service.Description.Name, service.Description.Id);
        foreach (var verb in new[] { "PING", "INFO", "STATS" })
        {
            foreach (var subject in new[] { $"$SRV.{verb}", $"$SRV.{verb}.{name}", $"$SRV.{verb}.{name}.{id}" })
            {
                var subscription = await _link
                    .Connection.SubscribeCoreAsync(subject, null, NatsPayload.Reader, cancellationToken: cancellationToken)
                    .ConfigureAwait(false);
                lock (_lock)
                {
                    service.Subscriptions.Add(subscription);
                }

                _ = AnswerAsync(service, verb, subscription);
            }
        }
    }

    private async Task AnswerAsync(Service service, string verb, INatsSub<NatsPayload> subscription)
    {
        await foreach (var question in subscription.Msgs.ReadAllAsync().ConfigureAwait(false))
        {
            question.Data?.Release();
            if (string.IsNullOrEmpty(question.ReplyTo))
            {
                continue;
            }

            try
            {
                await _link
                    .Connection.PublishAsync<ReadOnlyMemory<byte>>(
                        question.ReplyTo,
                        Answer(service, verb),
                        serializer: NatsRawSerializer<ReadOnlyMemory<byte>>.Default
                    )
                    .ConfigureAwait(false);
            }
            catch (Exception exception)
                when (exception is NatsException or IOException or ObjectDisposedException or OperationCanceledException)
            {
                LogCannotAnswer(_logger, subscription.Subject, exception.Message);
            }
        }
    }

    private byte[] Answer(Service service, string verb)
    {
        MicroServiceEndpoint[] endpoints;
        lock (_lock)
        {
            endpoints = [.. service.Endpoints.Select(endpoint => endpoint.Snapshot(service.Description))];
        }

        return verb switch
        {
            "PING" => service.Description.Ping(),
            "INFO" => service.Description.Info(endpoints),
            _ => service.Description.Stats(endpoints),
        };
    }

    [LoggerMessage(EventId = 3511, Level = LogLevel.Debug, Message = "Cannot answer {Subject}: {Problem}")]
    private static partial void LogCannotAnswer(ILogger logger, string subject, string problem);

    private sealed class Service(MicroService description)
    {
        public MicroService Description { get; } = description;

        public List<NatsEndpoint> Endpoints { get; } = [];

        public List<INatsSub<NatsPayload>> Subscriptions { get; } = [];
    }
}
