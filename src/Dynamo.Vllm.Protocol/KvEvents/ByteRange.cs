namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>A part of the payload that is being decoded. Start 0 is the payload's own header, so the default value means absent.</summary>
public readonly record struct ByteRange(int Start, int Length)
{
    public bool IsPresent => Start > 0;

    /// <summary>Absent or without content.</summary>
    public bool IsEmpty => Length == 0;

    public ReadOnlySpan<byte> In(ReadOnlySpan<byte> payload) => payload.Slice(Start, Length);
}
