using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.KvEvents;

namespace Dynamo.Vllm.Transports.Zmq;

/// <summary>Addresses of event brokers (kv-and-load.md, 5.4).</summary>
/// <param name="Publish">Where publishers connect (XSUB).</param>
/// <param name="Subscribe">Where subscribers connect (XPUB); a worker does not use them.</param>
public sealed record ZmqBrokerAddresses(IReadOnlyList<string> Publish, IReadOnlyList<string> Subscribe)
{
    /// <summary>Reads DYN_ZMQ_BROKER_URL: <c>xsub=url[;url...], xpub=url[;url...]</c>.</summary>
    /// <exception cref="FormatException">A part is missing or unknown.</exception>
    public static ZmqBrokerAddresses Parse(string text)
    {
        IReadOnlyList<string> publish = [];
        IReadOnlyList<string> subscribe = [];
        foreach (var part in text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            var (name, urls) = part.Split('=', 2, StringSplitOptions.TrimEntries) is [var key, var value] ? (key, Urls(value)) : (part, []);
            switch (name)
            {
                case "xsub":
                    publish = urls;
                    break;
                case "xpub":
                    subscribe = urls;
                    break;
                default:
                    throw new FormatException(
                        $"DYN_ZMQ_BROKER_URL has the part '{part}'; xsub=<url>[;<url>...], xpub=<url>[;<url>...] is needed"
                    );
            }
        }

        return publish.Count > 0 && subscribe.Count > 0
            ? new(publish, subscribe)
            : throw new FormatException($"DYN_ZMQ_BROKER_URL '{text}' must name both xsub and xpub");
    }

    /// <summary>Where in the bucket of event channels the brokers of a namespace register themselves.</summary>
    public static string KeyPrefix(string @namespace) => $"namespace/{EventTopic.Escape(@namespace)}/component/zmq_broker/";

    /// <summary>Every broker that event channels name (DYN_ZMQ_BROKER_ENABLED); null: none. Other channels are passed over.</summary>
    public static ZmqBrokerAddresses? FromChannels(IEnumerable<JsonObject> channels)
    {
        var brokers = channels
            .Select(channel => channel["transport"] as JsonObject)
            .Where(transport => TextOf(transport?["kind"]) == "ZmqBroker")
            .Select(transport => transport!["config"] as JsonObject)
            .ToList();

        // A broker that was started again may be there twice, until its former record has expired.
        string[] publish = [.. brokers.SelectMany(broker => Urls(broker?["xsub_endpoints"])).Distinct()];
        return publish.Length > 0 ? new(publish, [.. brokers.SelectMany(broker => Urls(broker?["xpub_endpoints"])).Distinct()]) : null;
    }

    private static string[] Urls(string value) => value.Split(';', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);

    private static IEnumerable<string> Urls(JsonNode? array) => (array as JsonArray ?? []).Select(TextOf).OfType<string>();

    private static string? TextOf(JsonNode? node) => node is JsonValue value && value.TryGetValue<string>(out var text) ? text : null;
}
