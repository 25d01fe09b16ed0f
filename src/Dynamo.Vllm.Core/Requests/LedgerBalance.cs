using System.Globalization;

namespace Dynamo.Vllm.Core.Requests;

/// <summary>The books of an endpoint at one moment.</summary>
/// <param name="Accepted">Requests acknowledged since the start.</param>
/// <param name="Open">Those that have not ended.</param>
/// <param name="Ended">The others, by their end.</param>
public sealed record LedgerBalance(long Accepted, long Open, IReadOnlyDictionary<RequestEnd, long> Ended)
{
    public long Count(RequestOutcome outcome) => Ended.Where(pair => pair.Key.Outcome == outcome).Sum(pair => pair.Value);

    /// <summary>What was accepted is what has ended and what is open, or a request was lost.</summary>
    public bool IsBalanced => Accepted == Open + Ended.Values.Sum();

    public override string ToString() =>
        string.Create(
            CultureInfo.InvariantCulture,
            $"{Accepted} accepted = {Count(RequestOutcome.Finished)} finished + {Count(RequestOutcome.Failed)} failed + "
                + $"{Count(RequestOutcome.Cancelled)} cancelled"
                + $" + {Count(RequestOutcome.HandedBack)} handed back + {Count(RequestOutcome.Unanswered)} unanswered + {Open} open"
        );
}
