using Dynamo.Vllm.Core.Requests;
using Prometheus;

namespace Dynamo.Vllm.Core.Metrics;

/// <summary>The books of each endpoint as series, read from the ledger at each scrape so that one scrape balances.</summary>
public sealed class LedgerMetrics
{
    private readonly Counter _accepted;
    private readonly Counter _ended;
    private readonly Gauge _open;

    /// <param name="registry">Scraped as a whole.</param>
    /// <param name="endpoints">Those served now. Called at each scrape.</param>
    public LedgerMetrics(CollectorRegistry registry, Func<IReadOnlyCollection<ServedEndpoint>> endpoints)
    {
        var factory = Prometheus.Metrics.WithCustomRegistry(registry);
        _accepted = factory.CreateCounter("dynamo_vllm_requests_accepted_total", "Requests that were acknowledged.", ["dynamo_endpoint"]);
        _ended = factory.CreateCounter(
            "dynamo_vllm_requests_ended_total",
            "Acknowledged requests that have ended, by what became of them and the reason of the error that was told.",
            ["dynamo_endpoint", "outcome", "reason"]
        );
        _open = factory.CreateGauge("dynamo_vllm_requests_open", "Acknowledged requests that have not ended.", ["dynamo_endpoint"]);
        registry.AddBeforeCollectCallback(() =>
        {
            foreach (var endpoint in endpoints())
            {
                Publish(endpoint.Id.Name, endpoint.Ledger.Read());
            }
        });
    }

    private void Publish(string endpoint, LedgerBalance balance)
    {
        _accepted.WithLabels(endpoint).IncTo(balance.Accepted);
        _open.WithLabels(endpoint).Set(balance.Open);
        foreach (var (end, count) in balance.Ended)
        {
            _ended.WithLabels(endpoint, Word(end.Outcome), end.Reason).IncTo(count);
        }
    }

    private static string Word(RequestOutcome outcome) =>
        outcome switch
        {
            RequestOutcome.Finished => "finished",
            RequestOutcome.Failed => "failed",
            RequestOutcome.HandedBack => "handed_back",
            RequestOutcome.Cancelled => "cancelled",
            _ => "unanswered",
        };
}
