using System.Globalization;
using System.Text.RegularExpressions;

namespace Dynamo.Vllm.Testing;

/// <summary>What a worker says at its end became of every request.</summary>
public static partial class ClosedBooks
{
    /// <summary>The line of an endpoint whose books do not balance or are open: it lost a request. Null where all is well.</summary>
    public static string? Lost(IEnumerable<string> lines) =>
        lines.Select(line => Line().Match(line)).FirstOrDefault(books => books.Success && !IsBalanced(books))?.Value;

    /// <summary>How many requests it accepted for the endpoint.</summary>
    public static long Accepted(IEnumerable<string> lines, string endpoint) =>
        lines
            .Select(line => Line().Match(line))
            .Where(books => books.Success && books.Value.StartsWith($"Requests to {endpoint}:", StringComparison.Ordinal))
            .Sum(books => Numbers(books)[0]);

    private static long[] Numbers(Match books) =>
        [.. books.Groups.Values.Skip(1).Select(group => long.Parse(group.Value, CultureInfo.InvariantCulture))];

    private static bool IsBalanced(Match books)
    {
        var numbers = Numbers(books);
        return numbers[0] == numbers[1..].Sum() && numbers[^1] == 0;
    }

    [GeneratedRegex(
        @"Requests to \S+: (\d+) accepted = (\d+) finished \+ (\d+) failed \+ (\d+) cancelled"
            + @" \+ (\d+) handed back \+ (\d+) unanswered \+ (\d+) open"
    )]
    private static partial Regex Line();
}
