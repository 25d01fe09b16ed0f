namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>Which cache groups hold the main attention's blocks: the only ones that prefixes are matched on.</summary>
/// <remarks>Removals name a group without its kind, so kinds are learned from stores.</remarks>
internal sealed class AttentionGroups
{
    /// <summary>Engines have a handful of groups; a peer that invents more teaches nothing.</summary>
    private const int GroupsMax = 1024;

    private readonly Dictionary<uint, bool> _isMain = [];

    public static bool IsMainKind(ReadOnlySpan<byte> kind) =>
        kind.SequenceEqual("full_attention"u8) || kind.SequenceEqual("mla_attention"u8) || kind.SequenceEqual("sink_full_attention"u8);

    public void Learn(uint group, bool isMain)
    {
        if (_isMain.Count < GroupsMax || _isMain.ContainsKey(group))
        {
            _isMain[group] = isMain;
        }
    }

    /// <summary>A group that was never named with its kind counts as main only if it is the first.</summary>
    public bool IsMain(uint group) => _isMain.TryGetValue(group, out var isMain) ? isMain : group == 0;
}
