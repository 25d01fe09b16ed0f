using System.Globalization;
using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Worker.Configuration;

namespace Dynamo.Vllm.Worker.Models.Cards;

/// <summary>What a card says of a secondary cache tier that other workers can fetch blocks from (behaviour.md, 3).</summary>
/// <remarks>A tier says so itself, in the connector's settings: <c>secondary_tiers[].router_capabilities</c> has "router_hint".</remarks>
internal static class KvHintCapability
{
    private const string Name = "router_hint";

    private static readonly string[] Roles = ["aggregated", "prefill", "decode"];

    /// <param name="data">Of the card.</param>
    /// <param name="connector">The connector's extra settings, if any.</param>
    /// <param name="role">Worker type of the card.</param>
    /// <param name="firstRank">Of this worker, of all data-parallel ranks.</param>
    /// <param name="ranks">How many this worker has.</param>
    /// <param name="publishesSources">False where a state agent is told of them instead.</param>
    /// <exception cref="ConfigurationException">A tier that says so and cannot be reached.</exception>
    public static void AddTo(JsonObject data, JsonObject? connector, string role, int firstRank, int ranks, bool publishesSources)
    {
        if (Sources(connector, role, firstRank, ranks) is not { } sources)
        {
            return;
        }

        if (publishesSources)
        {
            data["router_hint_source_control_endpoints"] = sources;
        }

        data["router_hint_worker_type"] = role;
        data[Name] = true;
    }

    /// <summary>Where hints for each rank go, by its number; null where the engine takes none.</summary>
    /// <exception cref="ConfigurationException">A tier that says so and cannot be reached.</exception>
    public static JsonObject? Sources(JsonObject? connector, string role, int firstRank, int ranks)
    {
        var tiers = connector?["secondary_tiers"] is JsonArray all ? all.OfType<JsonObject>().Where(HasCapability).ToList() : [];
        if (tiers.Count == 0 || !Roles.Contains(role))
        {
            return null;
        }

        if (tiers.Count > 1)
        {
            throw new ConfigurationException(
                "P2P KV transfer hint support requires exactly one capable secondary tier; found multiple tiers advertising " + Name
            );
        }

        return Endpoints(tiers[0], firstRank, ranks);
    }

    private static bool HasCapability(JsonObject tier) =>
        tier["router_capabilities"] is JsonArray words && words.Any(word => Text(word) == Name);

    /// <summary>A port for each rank of this worker, under the number that the rank has among all.</summary>
    private static JsonObject Endpoints(JsonObject tier, int firstRank, int ranks)
    {
        if (tier["control_ports"] is not JsonArray ports)
        {
            throw new ConfigurationException("P2P KV transfer hint support requires control_ports to be a list");
        }

        if (ports.Count != ranks)
        {
            throw new ConfigurationException(
                $"P2P KV transfer hint support requires control_ports to contain exactly {ranks} entries for the worker-local DP ranks; "
                    + $"got {ports.Count}"
            );
        }

        var host = Host(Text(tier["control_advertise_host"]));
        var endpoints = new JsonObject();
        foreach (var (rank, port) in ports.Index())
        {
            if (host is null || Port(port) is not { } number)
            {
                throw new ConfigurationException(
                    "P2P KV transfer hint support requires advertisable source control endpoints for all managed DP ranks"
                );
            }

            endpoints[(firstRank + rank).ToString(CultureInfo.InvariantCulture)] = $"tcp://{host}:{number}";
        }

        return endpoints;
    }

    /// <summary>As it stands in an address; null for none, and for one that means every address of a host.</summary>
    private static string? Host(string? text)
    {
        if (string.IsNullOrEmpty(text))
        {
            return null;
        }

        // .NET reads shortened forms, which are names here.
        var isLiteral = text.Contains(':', StringComparison.Ordinal) || text.Split('.').Length == 4;
        if (!isLiteral || !IPAddress.TryParse(text, out var address))
        {
            return text;
        }

        return address.Equals(IPAddress.Any) || address.Equals(IPAddress.IPv6Any) ? null
            : address.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6 ? $"[{address}]"
            : address.ToString();
    }

    private static int? Port(JsonNode? value)
    {
        var text = value?.GetValueKind() switch
        {
            JsonValueKind.Number => value.ToJsonString(),
            JsonValueKind.String => value.GetValue<string>().Trim(),
            _ => null,
        };
        return int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var port) && port is > 0 and <= 65535
            ? port
            : null;
    }

    private static string? Text(JsonNode? node) => node?.GetValueKind() == JsonValueKind.String ? node.GetValue<string>() : null;
}
