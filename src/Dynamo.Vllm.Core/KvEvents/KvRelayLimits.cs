namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>Bounds of the relay. Numbers without a remark are the reference's (kv-and-load.md, 15).</summary>
internal static class KvRelayLimits
{
    public const int EventsPerMessageMax = 128;

    public const int BlocksPerMessageMax = 8192;

    public const int DumpsAtOnceMax = 8;

    public const int FirstTokensQueuedMax = 4096;

    public const int FirstTokensPerMessageMax = 256;

    /// <summary>How long changes of load, and first tokens, are gathered.</summary>
    public static readonly TimeSpan GatherTime = TimeSpan.FromMilliseconds(1);

    /// <summary>Encoded size of a dump: 4 million blocks. Ours; the reference has no limit.</summary>
    public const int DumpBytesMax = 256 * 1024 * 1024;

    /// <summary>Blocks in a rank's index, at least; a larger engine raises it. Ours; the reference has no limit.</summary>
    public const int IndexBlocksMin = 1 << 20;
}
