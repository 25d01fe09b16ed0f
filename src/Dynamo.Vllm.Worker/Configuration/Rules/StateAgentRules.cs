using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Protocol.StateAgents;
using Dynamo.Vllm.Worker.Configuration.Options;

namespace Dynamo.Vllm.Worker.Configuration.Rules;

/// <summary>Step 5: whether an agent follows the cache, and what excludes that; in the reference's words.</summary>
internal sealed class StateAgentRules(HostFacts facts) : ConfigurationRules(facts)
{
    private const string Section = "dynamo_state_agent";
    private const string NotConnectable = "raw_advertise_host must be a non-loopback connectable host";

    public StateAgentSettings? Resolve(ConfigurationDraft draft)
    {
        if (draft.Engine.KvTransferConfig?["kv_connector_extra_config"] is not { } extra)
        {
            return null;
        }

        Refuse(extra is not JsonObject, "kv_connector_extra_config must be an object");
        if (extra[Section] is not { } value)
        {
            return null;
        }

        Refuse(value is not JsonObject, $"{Section} must be an object");
        var section = value.AsObject();
        var host = (section["raw_advertise_host"] as JsonValue)?.TryGetValue<string>(out var text) == true ? text : "";
        Refuse(host.Length == 0, $"{Section}.raw_advertise_host is required");
        CheckHost(host);
        Refuse(section["cache_owner_ids"] is not JsonObject { Count: > 0 }, $"{Section}.cache_owner_ids must be a nonempty object");
        var owners = ReadOwners(section["cache_owner_ids"]!.AsObject());
        CheckRole(draft);
        return new StateAgentSettings(host, owners);
    }

    private static Dictionary<int, CacheOwnerId> ReadOwners(JsonObject names)
    {
        var owners = new Dictionary<int, CacheOwnerId>();
        foreach (var (key, value) in names)
        {
            var isNumber = int.TryParse(key, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var rank);
            Refuse(!isNumber, "CacheOwner mapping keys must be global DP ranks");
            Refuse(rank.ToString(CultureInfo.InvariantCulture) != key, $"non-canonical global DP rank key: {Quote(key)}");
            var owner = (value as JsonValue)?.TryGetValue<string>(out var text) == true ? CacheOwnerId.Parse(text) : null;
            owners[rank] =
                owner
                ?? throw new ConfigurationException(
                    $"invalid canonical CacheOwnerId for global rank {rank.ToString(CultureInfo.InvariantCulture)}"
                );
        }

        Refuse(owners.Values.Distinct().Count() != owners.Count, "CacheOwnerId values must be unique across managed global ranks");
        return owners;
    }

    private static void CheckRole(ConfigurationDraft draft)
    {
        var options = draft.Options;
        var role =
            options.Get(VllmOptions.Headless) ? "headless"
            : options.Get(VllmOptions.Realtime) ? "realtime"
            : options.Get(VllmOptions.EmbeddingWorker) ? "embedding"
            : options.Get(VllmOptions.ClassifyWorker) ? "classify"
            : draft.Mode == DisaggregationMode.Encode ? "multimodal encode"
            : null;
        Refuse(role is not null, $"{Section} is unsupported for {role} workers");
        Refuse(!draft.EnablePrefixCaching, $"{Section} requires prefix caching");
        Refuse(
            (draft.Engine.KvEventsConfig?["enable_kv_cache_events"] as JsonValue)?.TryGetValue<bool>(out var publishes) != true
                || !publishes,
            $"{Section} requires vLLM KV event emission"
        );
    }

    private static void CheckHost(string host)
    {
        Refuse(host is "*" or "localhost" or "0.0.0.0" or "::" or "[::]", NotConnectable);
        Refuse(
            host.Contains("://", StringComparison.Ordinal) || host.Contains('/', StringComparison.Ordinal),
            "raw_advertise_host must not include a scheme, port, or path"
        );
        var literal = host;
        if (host.StartsWith('['))
        {
            Refuse(!host.EndsWith(']'), "raw_advertise_host has mismatched IPv6 brackets");
            literal = host[1..^1];
            Refuse(!IPAddress.TryParse(literal, out var inner), "bracketed raw_advertise_host must be an IPv6 literal");
            Refuse(inner!.AddressFamily != AddressFamily.InterNetworkV6, "only IPv6 literals may use brackets");
        }
        else
        {
            Refuse(
                host.Any(c => c is '[' or ']' or ':' || char.IsWhiteSpace(c)),
                "raw_advertise_host must be a hostname or bracketed IPv6 literal without a port"
            );
        }

        // Python reads four numbers as an address, and nothing shorter.
        var isAddress = IPAddress.TryParse(literal, out var address) && (literal.Contains(':') || literal.Count(c => c == '.') == 3);
        Refuse(
            isAddress && (IPAddress.IsLoopback(address!) || address!.Equals(IPAddress.Any) || address.Equals(IPAddress.IPv6Any)),
            NotConnectable
        );
    }
}
