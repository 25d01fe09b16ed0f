using System.Globalization;

namespace Dynamo.Vllm.Testing;

/// <summary>Numbers out of a scrape, as an operator would read them.</summary>
public static class MetricSamples
{
    /// <summary>Sum over the samples of a family whose line holds all the parts; 0 without any.</summary>
    public static double Sum(string scrape, string family, params string[] parts) =>
        scrape
            .Split('\n')
            .Where(line =>
                line.StartsWith(family, StringComparison.Ordinal)
                && (line[family.Length] is '{' or ' ')
                && Array.TrueForAll(parts, part => line.Contains(part, StringComparison.Ordinal))
            )
            .Sum(line => double.Parse(line[(line.LastIndexOf(' ') + 1)..], CultureInfo.InvariantCulture));
}
