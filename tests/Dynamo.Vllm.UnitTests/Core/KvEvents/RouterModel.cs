using System.Text.Json.Nodes;

namespace Dynamo.Vllm.UnitTests.Core.KvEvents;

/// <summary>A slow router: parent by block and tier, kept from events one by one.</summary>
internal sealed class RouterModel
{
    private readonly Dictionary<(string Tier, ulong Hash), ulong?> _parents = [];

    public int Count => _parents.Count;

    public ulong LastId { get; private set; }

    public void ApplyAll(JsonArray events)
    {
        foreach (var entry in events)
        {
            Apply(entry!);
        }
    }

    /// <summary>Blocks whose chain to the start is whole, as text.</summary>
    public List<string> Attached() =>
        [
            .. _parents
                .Where(pair => IsAttached(pair.Key.Tier, pair.Key.Hash))
                .Select(pair => $"{pair.Key.Tier} {pair.Key.Hash} {pair.Value}")
                .Order(StringComparer.Ordinal),
        ];

    private void Apply(JsonNode entry)
    {
        LastId = entry["event"]!["event_id"]!.GetValue<ulong>();
        var tier = entry["storage_tier"]!.GetValue<string>();
        var data = entry["event"]!["data"]!;
        if (data is JsonValue)
        {
            _parents.Clear();
        }
        else if (data["removed"] is { } removed)
        {
            foreach (var hash in removed["block_hashes"]!.AsArray())
            {
                _parents.Remove((tier, hash!.GetValue<ulong>()));
            }
        }
        else
        {
            var parent = data["stored"]!["parent_hash"]?.GetValue<ulong>();
            foreach (var block in data["stored"]!["blocks"]!.AsArray())
            {
                var hash = block!["block_hash"]!.GetValue<ulong>();
                _parents[(tier, hash)] = parent;
                parent = hash;
            }
        }
    }

    private bool IsAttached(string tier, ulong hash)
    {
        var steps = 0;
        while (_parents.TryGetValue((tier, hash), out var parent) && steps++ < _parents.Count)
        {
            if (parent is not { } value)
            {
                return true;
            }

            hash = value;
        }

        return false;
    }
}
