using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Discovery;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Discovery;
using Dynamo.Vllm.Protocol.KvEvents;
using Dynamo.Vllm.Protocol.StateAgents;

namespace Dynamo.Vllm.Worker.StateAgents;

/// <summary>Asks the state agent of the namespace to follow this worker's cache, which then publishes in its place.</summary>
/// <remarks>
/// 1. Looks until exactly one agent is registered. 2. Puts a wish for each rank. 3. Goes on looking: an agent that comes in its place is
/// asked anew. Requests are served meanwhile; routers see no cache. In the reference the search ends after 30 s, for good.
/// </remarks>
internal sealed partial class StateAgentAttachment
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    private readonly WorkerRegistration _registration;
    private readonly ServedEndpoint _generate;
    private readonly IReadOnlyList<StateAttachment> _ranks;
    private readonly Func<ulong> _nextRandom;
    private readonly TimeProvider _time;
    private readonly ILogger<StateAgentAttachment> _logger;
    private JsonObject? _host;
    private string? _said;

    /// <param name="registration">Of this worker.</param>
    /// <param name="generate">Served already: the wish names its address.</param>
    /// <param name="ranks">All of this worker.</param>
    /// <param name="nextRandom">Source of ids.</param>
    /// <param name="time">Clock.</param>
    /// <param name="logger">Log.</param>
    public StateAgentAttachment(
        WorkerRegistration registration,
        ServedEndpoint generate,
        IReadOnlyList<StateAttachment> ranks,
        Func<ulong> nextRandom,
        TimeProvider time,
        ILogger<StateAgentAttachment> logger
    )
    {
        _registration = registration;
        _generate = generate;
        _ranks = ranks;
        _nextRandom = nextRandom;
        _time = time;
        _logger = logger;
    }

    private string Namespace => _generate.Id.Namespace;

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        while (!_registration.IsLeaving)
        {
            var hosts = await FindHostsAsync(cancellationToken).ConfigureAwait(false);
            if (hosts.Count == 1 && !JsonNode.DeepEquals(hosts[0], _host))
            {
                await AttachAsync(hosts[0], cancellationToken).ConfigureAwait(false);
            }
            else if (hosts.Count != 1)
            {
                Say(hosts.Count);
            }

            await Task.Delay(Interval, _time, cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task<IReadOnlyList<JsonObject>> FindHostsAsync(CancellationToken cancellationToken)
    {
        var records = await _registration
            .ListAsync(DiscoveryRecord.EventSources, StateAgentRecords.HostsPrefix(Namespace), cancellationToken)
            .ConfigureAwait(false);
        return [.. records.Select(StateAgentRecords.HostOf).OfType<JsonObject>()];
    }

    private async Task AttachAsync(JsonObject host, CancellationToken cancellationToken)
    {
        try
        {
            foreach (var rank in _ranks)
            {
                // A wish to another agent is another wish. It is named anew, so the one before goes first.
                var name = $"kv-state-intent-{rank.Rank}";
                await _registration.RemoveAsync(name, cancellationToken).ConfigureAwait(false);
                var id = PublisherId.FromRandom(_nextRandom());
                await _registration
                    .PutAsync(
                        name,
                        worker => StateAgentRecords.Intent(Namespace, id, host, _registration.EndpointValue(_generate), worker, rank),
                        cancellationToken
                    )
                    .ConfigureAwait(false);
            }
        }
        catch (WorkerLeavingException)
        {
            return;
        }

        _host = host;
        _said = null;
        LogAttached(_logger, _ranks.Count, host["instance_id"]?.ToJsonString() ?? "?");
    }

    private void Say(int found)
    {
        var what = found == 0 ? "none is registered" : $"{found} are registered";
        if (_said != what)
        {
            _said = what;
            LogWaiting(_logger, Namespace, what);
        }
    }

    [LoggerMessage(
        EventId = 5160,
        Level = LogLevel.Information,
        Message = "KV state agent {Instance} was asked to follow the cache of {Ranks} ranks"
    )]
    private static partial void LogAttached(ILogger logger, int ranks, string instance);

    [LoggerMessage(
        EventId = 5161,
        Level = LogLevel.Warning,
        Message = "Waiting for the KV state agent of namespace {Namespace}: exactly one is needed, {Found}. Requests are served, routers "
            + "do not see this cache"
    )]
    private static partial void LogWaiting(ILogger logger, string @namespace, string found);
}
