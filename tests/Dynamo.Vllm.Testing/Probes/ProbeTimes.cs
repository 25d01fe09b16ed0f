namespace Dynamo.Vllm.Testing.Probes;

/// <summary>How long the answers of one path took.</summary>
/// <param name="Path">What was asked for.</param>
/// <param name="Times">Of each answer, in ascending order.</param>
/// <param name="Statuses">The different statuses that were answered.</param>
public sealed record ProbeTimes(string Path, IReadOnlyList<TimeSpan> Times, IReadOnlyList<int> Statuses)
{
    public TimeSpan Max => Times[^1];

    public TimeSpan Quantile(double share) => Times[Math.Min(Times.Count - 1, (int)Math.Ceiling(Times.Count * share) - 1)];
}
