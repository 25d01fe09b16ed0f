using System.Text.Json.Nodes;
using System.Xml;
using System.Xml.Linq;
using Dynamo.Vllm.Worker.Help;

namespace Dynamo.Vllm.Worker.Configuration.Dump;

/// <summary>The cards as the driver's own tool names them, for the configuration dump.</summary>
public static class GpuFacts
{
    private static readonly (string Member, string[] Path)[] Members =
    [
        ("memory_total", ["fb_memory_usage", "total"]),
        ("board_part_number", ["board_part_number"]),
        ("gpu_part_number", ["gpu_part_number"]),
    ];

    /// <returns>An object with <c>gpus</c> and <c>count</c>; null without a card or a driver.</returns>
    public static JsonObject? Collect() => ToolOutput.Read("nvidia-smi", "-q", "-x") is { } text ? Read(text) : null;

    /// <summary>The same for people, with who holds the memory. Blocks for seconds at most.</summary>
    internal static IReadOnlyList<GpuCard> ReadCards() => ToolOutput.Read("nvidia-smi", "-q", "-x") is { } text ? ReadCards(text) : [];

    internal static IReadOnlyList<GpuCard> ReadCards(string xml)
    {
        var root = Load(xml);
        var driver = DriverOf(root);
        return
        [
            .. (root?.Elements("gpu") ?? []).Select(card => new GpuCard(
                card.Element("product_name")?.Value ?? "GPU",
                driver,
                card.Element("fb_memory_usage")?.Element("total")?.Value ?? "?",
                card.Element("fb_memory_usage")?.Element("used")?.Value ?? "?",
                [.. (card.Element("processes")?.Elements("process_info") ?? []).Select(DescribeHolder)]
            )),
        ];
    }

    internal static JsonObject? Read(string xml)
    {
        var root = Load(xml);
        var driver = DriverOf(root);
        var cards = new JsonArray([.. (root?.Elements("gpu") ?? []).Select(card => Describe(card, driver))]);
        return cards.Count == 0 ? null : new JsonObject { ["gpus"] = cards, ["count"] = cards.Count };
    }

    private static XElement? Load(string xml)
    {
        try
        {
            // The tool names a document type, which is neither needed nor fetched.
            using var reader = XmlReader.Create(new StringReader(xml), new XmlReaderSettings { DtdProcessing = DtdProcessing.Ignore });
            return XDocument.Load(reader).Root;
        }
        catch (XmlException)
        {
            return null;
        }
    }

    private static string DriverOf(XElement? root) => root?.Element("driver_version")?.Value ?? "unknown";

    private static string DescribeHolder(XElement process) =>
        $"{process.Element("process_name")?.Value} (process {process.Element("pid")?.Value}, {process.Element("used_memory")?.Value})";

    private static JsonObject Describe(XElement card, string driver)
    {
        var json = new JsonObject();
        if (card.Element("product_name") is { } name)
        {
            json["name"] = name.Value;
        }

        json["driver_version"] = driver;
        foreach (var (member, path) in Members)
        {
            if (path.Aggregate((XElement?)card, (element, step) => element?.Element(step)) is { } value)
            {
                json[member] = value.Value;
            }
        }

        return json;
    }
}
