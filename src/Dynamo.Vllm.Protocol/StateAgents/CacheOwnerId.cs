using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Dynamo.Vllm.Protocol.StateAgents;

/// <summary>Whose cache a rank's blocks are in, as an operator names it: <c>{semantics}:{scope}/{dc}/{slot}</c>, hexadecimal.</summary>
public sealed partial record CacheOwnerId
{
    private readonly string _semantics;
    private readonly string _scope;
    private readonly ulong _dataCenter;
    private readonly string _slot;

    private CacheOwnerId(Match match)
    {
        _semantics = match.Groups[1].Value;
        _scope = match.Groups[2].Value;
        _dataCenter = ulong.Parse(match.Groups[3].Value, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
        _slot = match.Groups[4].Value;
    }

    /// <summary>The blocks of one domain are worth something to each other.</summary>
    public JsonObject Domain => new() { ["cache_semantics"] = Digest(_semantics), ["routing_scope"] = Digest(_scope) };

    /// <summary>Null for a text that is no such name.</summary>
    public static CacheOwnerId? Parse(string text) => Form().Match(text) is { Success: true } match ? new CacheOwnerId(match) : null;

    public JsonObject ToJson() =>
        new()
        {
            ["pool"] = new JsonObject { ["indexer_domain"] = Domain, ["dc_id"] = _dataCenter },
            ["slot"] = Digest(_slot),
        };

    private static JsonObject Digest(string digits) =>
        new()
        {
            ["digest"] = new JsonArray([.. Convert.FromHexString(digits).Select(octet => JsonValue.Create(octet))]),
            ["source"] = "explicit",
        };

    [GeneratedRegex(@"\A([0-9a-f]{32}):([0-9a-f]{32})/([0-9a-f]{16})/([0-9a-f]{32})\z", RegexOptions.CultureInvariant)]
    private static partial Regex Form();
}
