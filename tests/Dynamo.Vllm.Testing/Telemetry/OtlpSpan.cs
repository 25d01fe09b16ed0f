namespace Dynamo.Vllm.Testing.Telemetry;

/// <summary>One span as a collector got it.</summary>
/// <param name="Path">Path of the request.</param>
/// <param name="Headers">Of the request.</param>
/// <param name="Service">Name of the service.</param>
/// <param name="Name">Of the span.</param>
/// <param name="Kind">Internal or Server.</param>
/// <param name="Trace">In hexadecimal.</param>
/// <param name="Id">In hexadecimal.</param>
/// <param name="Parent">In hexadecimal; empty for the root.</param>
/// <param name="IsParentRemote">The parent is of another process.</param>
/// <param name="State">Trace state.</param>
/// <param name="Start">In nanoseconds.</param>
/// <param name="End">In nanoseconds.</param>
/// <param name="Status">Unset, Ok or Error, and the message.</param>
/// <param name="Attributes">As text.</param>
public sealed record OtlpSpan(
    string Path,
    IReadOnlyDictionary<string, string> Headers,
    string Service,
    string Name,
    string Kind,
    string Trace,
    string Id,
    string Parent,
    bool IsParentRemote,
    string State,
    ulong Start,
    ulong End,
    string Status,
    IReadOnlyDictionary<string, string> Attributes
);
