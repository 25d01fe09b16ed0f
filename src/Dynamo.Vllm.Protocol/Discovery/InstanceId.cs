using System.Globalization;

namespace Dynamo.Vllm.Protocol.Discovery;

/// <summary>Identity of one worker process: 64 bits, an integer in JSON, lower-case hex without leading zeros in keys.</summary>
public readonly record struct InstanceId(ulong Value)
{
    /// <summary>The form used in keys, paths and labels.</summary>
    public string Hex => Value.ToString("x", CultureInfo.InvariantCulture);

    public override string ToString() => Hex;
}
