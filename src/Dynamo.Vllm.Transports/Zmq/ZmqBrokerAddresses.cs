using System.Text.Json.Nodes;

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
                    throw new FormatException($"DYN_ZMQ_BROKER_URL has the part '{part}'; xsub=<url>[;<url>...], xpub=<url>[;<url>...] is needed");
            }
        }

        return publish.Count > 0 && subscribe.Count > 0
            ? new(publish, subscribe)
            : throw new FormatException($"DYN_ZMQ_BROKER_URL '{text}' must name both xsub and xpub");
    }

    /// <summary>Reads the transport of an event channel that a broker registered (DYN_ZMQ_BROKER_ENABLED). Null: it is no broker.</summary>
    public static ZmqBrokerAddresses? FromTransport(JsonObject transport)
    {
        if (transport["kind"]?.GetValue<string>() != "ZmqBroker" || transport["config"] is not JsonObject config)
        {
            return null;
        }

        var publish = Urls(config["xsub_endpoints"]);
        return publish.Count > 0 ? new(publish, Urls(config["xpub_endpoints"])) : null;
    }

    private static string[] Urls(string value) => value.Split(';', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);

    private static List<string> Urls(JsonNode? array) => array is JsonArray urls ? [.. urls.Select(url => url!.GetValue<string>())] : [];
}
