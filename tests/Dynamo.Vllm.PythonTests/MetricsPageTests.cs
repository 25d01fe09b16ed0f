using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PythonTests;

/// <summary>docs/metrics.md says what a worker's own scrape says: every family, its type, its labels and its help.</summary>
public sealed partial class MetricsPageTests : SimulatedWorkerTests
{
    private readonly WrittenPage _page = new("metrics.md", "<!-- metrics: written by MetricsPageTests, WRITE_DOCS=1 -->\n");

    [Fact]
    public async Task The_page_lists_every_metric_of_ours_as_a_scrape_shows_it()
    {
        var families = new SortedDictionary<string, Family>(StringComparer.Ordinal);
        var nowhere = new Dictionary<string, string>
        {
            ["OTEL_METRICS_EXPORTER"] = "otlp",
            ["OTEL_EXPORT_ENABLED"] = "1",
            ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:1",
            ["DYN_FPM_TRACE"] = "1",
            ["DYN_FPM_OUTPUT_PATH"] = "/dev/null/pass",
        };
        await using (var worker = await StartAsync(environment: nowhere))
        {
            await using var client = await ConnectAsync();
            await using var call = await client.CallAsync(Body(1, 5), default);
            await CountAsync(call);
            Add(families, await worker.Http.GetStringAsync("/metrics"));
        }

        const string transfer = """{"kv_connector":"NixlConnector","kv_role":"kv_both"}""";
        await using (var worker = await StartAsync(["--disaggregation-mode", "prefill", "--kv-transfer-config", transfer]))
        {
            Add(families, await worker.Http.GetStringAsync("/metrics"));
        }

        foreach (Match row in Listed().Matches(_page.Written))
        {
            // Which labels a series has shows only once it has data.
            var labels = Code().Matches(row.Groups[2].Value).Select(label => label.Groups[1].Value);
            families.GetValueOrDefault(row.Groups[1].Value)?.Labels.UnionWith(labels);
        }

        var text =
            "\n| Metric | Type | Labels | |\n|---|---|---|---|\n" + string.Concat(families.Select(family => family.Value.Row(family.Key)));
        Assert.Equal(text, _page.Update(text));
    }

    private static void Add(SortedDictionary<string, Family> families, string scrape)
    {
        foreach (Match match in Header().Matches(scrape))
        {
            var name = match.Groups[1].Value;
            families.TryAdd(name, new Family(match.Groups[2].Value, match.Groups[3].Value));
            var samples = Regex.Matches(scrape, $@"^{name}(?:_bucket|_sum|_count)?{{([^}}]*)}}", RegexOptions.Multiline);
            families[name]
                .Labels.UnionWith(
                    samples.SelectMany(sample => Label().Matches(sample.Groups[1].Value)).Select(label => label.Groups[1].Value)
                );
        }
    }

    [GeneratedRegex(@"^# HELP ((?:dynamo|process)_\w+) (.*)\n# TYPE \w+ (\w+)$", RegexOptions.Multiline)]
    private static partial Regex Header();

    [GeneratedRegex(@"(\w+)=""")]
    private static partial Regex Label();

    [GeneratedRegex(@"^\| `(\w+)` \| \w+ \| ([^|]*) \|", RegexOptions.Multiline)]
    private static partial Regex Listed();

    [GeneratedRegex(@"`(\w+)`")]
    private static partial Regex Code();

    private sealed record Family(string Help, string Type)
    {
        public SortedSet<string> Labels { get; } = new(StringComparer.Ordinal);

        public string Row(string name) =>
            string.Create(
                CultureInfo.InvariantCulture,
                $"| `{name}` | {Type} | {string.Join(", ", Labels.Where(label => label != "le").Select(label => $"`{label}`"))} | {Help} |\n"
            );
    }
}
