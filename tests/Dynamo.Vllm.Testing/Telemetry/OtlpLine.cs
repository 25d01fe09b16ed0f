namespace Dynamo.Vllm.Testing.Telemetry;

/// <summary>One line of a log as a collector got it.</summary>
/// <param name="Path">Path of the request.</param>
/// <param name="Service">Name of the service.</param>
/// <param name="Scope">Who said it.</param>
/// <param name="Severity">The number's name and the word.</param>
/// <param name="Text">The sentence.</param>
/// <param name="Event">Name of the event.</param>
/// <param name="Time">In nanoseconds.</param>
/// <param name="Observed">In nanoseconds.</param>
/// <param name="Trace">In hexadecimal; empty where it belongs to no request.</param>
/// <param name="Span">In hexadecimal.</param>
/// <param name="Attributes">As text.</param>
public sealed record OtlpLine(
    string Path,
    string Service,
    string Scope,
    string Severity,
    string Text,
    string Event,
    ulong Time,
    ulong Observed,
    string Trace,
    string Span,
    IReadOnlyDictionary<string, string> Attributes
);
