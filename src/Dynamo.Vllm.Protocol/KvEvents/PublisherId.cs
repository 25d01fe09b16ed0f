using System.Globalization;

namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>Identity of one event publisher, new for each one.</summary>
/// <remarks>53 bits, so that it survives readers that take JSON numbers for doubles (kv-and-load.md, 5.1).</remarks>
public readonly record struct PublisherId(ulong Value)
{
    private const ulong Mask = (1UL << 53) - 1;

    /// <summary>The form used in keys and endpoint names.</summary>
    public string Hex => Value.ToString("x", CultureInfo.InvariantCulture);

    public static PublisherId FromRandom(ulong bits) => new(bits & Mask);

    public override string ToString() => Hex;
}
