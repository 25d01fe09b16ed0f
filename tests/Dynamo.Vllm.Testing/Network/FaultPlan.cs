namespace Dynamo.Vllm.Testing.Network;

/// <summary>What goes wrong in one direction of a connection. Positions count the bytes of that direction from its start.</summary>
public sealed record FaultPlan
{
    public static FaultPlan None { get; } = new();

    /// <summary>The next connection alone meets it; those after it have no faults.</summary>
    public bool IsForOne { get; init; }

    /// <summary>Each piece waits this long before it goes on.</summary>
    public TimeSpan Delay { get; init; }

    /// <summary>Largest piece, so that receivers see frames split at every position.</summary>
    public int PieceBytesMax { get; init; } = 64 * 1024;

    /// <summary>After this many bytes both ends get a reset.</summary>
    public long? CutAt { get; init; }

    /// <summary>After this many bytes the receiver sees the end, and the other direction goes on.</summary>
    public long? HalfCloseAt { get; init; }

    /// <summary>After this many bytes nothing moves any more, and the sockets stay open.</summary>
    public long? FreezeAt { get; init; }

    /// <summary>The byte at this position arrives with its bits inverted.</summary>
    public long? FlipAt { get; init; }

    /// <summary>Bytes that may be read before the next event of the plan.</summary>
    internal int Allowance(long position)
    {
        var next = new[] { CutAt, HalfCloseAt, FreezeAt }.Where(limit => limit >= position).Min();
        return (int)Math.Min(PieceBytesMax, next - position ?? PieceBytesMax);
    }
}
