namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>What a run comes to, by the rules of <c>vllm bench serve</c>: failed requests count for nothing but their number.</summary>
internal sealed class BenchSummary
{
    private readonly List<Attempt> _good;

    /// <param name="options">Of the run.</param>
    /// <param name="attempts">All that were sent.</param>
    /// <param name="duration">Of the run.</param>
    public BenchSummary(BenchOptions options, IReadOnlyList<Attempt> attempts, TimeSpan duration)
    {
        Options = options;
        Attempts = attempts;
        Seconds = duration.TotalSeconds;
        _good = [.. attempts.Where(attempt => attempt.IsSuccess)];
        Failures =
        [
            .. attempts
                .Where(attempt => attempt.Failure is not null)
                .GroupBy(attempt => attempt.Failure!.Kind)
                .Select(group => (group.Key, group.Count(), group.First().Failure!.Message))
                .OrderByDescending(entry => entry.Item2),
        ];
        (PeakTokens, PeakRequests) = Peaks();
    }

    public BenchOptions Options { get; }

    public IReadOnlyList<Attempt> Attempts { get; }

    public double Seconds { get; }

    public int Completed => _good.Count;

    public int Failed => Failures.Sum(entry => entry.Count);

    public int Abandoned => Attempts.Count(attempt => attempt.IsAbandoned);

    /// <summary>Each kind, how often, and the first message of it.</summary>
    public IReadOnlyList<(string Kind, int Count, string First)> Failures { get; }

    public long InputTokens => _good.Sum(attempt => (long)attempt.PromptTokens);

    public long OutputTokens => _good.Sum(attempt => (long)attempt.OutputTokens);

    /// <summary>Within all limits of <c>--goodput</c>; an answer of one token has no time per token, and is within that one.</summary>
    public int Good =>
        _good.Count(attempt =>
            Options.Goodput.All(limit =>
                limit.Value / 1000
                >= limit.Key switch
                {
                    "ttft" => attempt.FirstToken,
                    "tpot" => attempt.TokenTime ?? 0,
                    _ => attempt.Latency,
                }
            )
        );

    /// <summary>Chunks in the best second of the run, counted from its first request.</summary>
    public double PeakTokens { get; }

    /// <summary>Requests that were under way in the fullest second.</summary>
    public int PeakRequests { get; }

    public double PerSecond(double count) => Seconds > 0 ? count / Seconds : 0;

    /// <param name="metric">One of <see cref="BenchOptions.Metrics"/>.</param>
    public Sample SampleOf(string metric) =>
        new(
            metric switch
            {
                "ttft" => _good.Select(attempt => attempt.FirstToken),
                "tpot" => _good.Select(attempt => attempt.TokenTime).OfType<double>(),
                "itl" => _good.SelectMany(attempt => attempt.Intervals),
                "e2el" => _good.Select(attempt => attempt.Latency),
                BenchOptions.ClientQueueTime => _good.Select(attempt => attempt.QueueTime),
                _ => _good.Select(attempt => attempt.Latency + attempt.QueueTime),
            }
        );

    private (double Tokens, int Requests) Peaks()
    {
        if (_good.Count == 0)
        {
            return (0, 0);
        }

        var first = _good.Min(attempt => attempt.Start);
        var seconds = (int)Math.Ceiling(_good.Max(attempt => attempt.Start + attempt.Latency) - first) + 1;
        var tokens = new int[seconds];
        var requests = new int[seconds];
        foreach (var attempt in _good)
        {
            var time = attempt.Start + attempt.FirstToken - first;
            tokens[(int)time]++;
            foreach (var interval in attempt.Intervals)
            {
                time += interval;
                tokens[Math.Min((int)time, seconds - 1)]++; // what is added up may be a rounding past the end
            }

            for (var second = (int)(attempt.Start - first); second <= (int)(attempt.Start + attempt.Latency - first); second++)
            {
                requests[second]++;
            }
        }

        return (tokens.Max(), requests.Max());
    }
}
