using Microsoft.Extensions.Logging;

namespace Dynamo.Vllm.Transports.Otlp;

/// <summary>One line of the log, before it is a message of OTLP.</summary>
/// <param name="Time">When it was said.</param>
/// <param name="Level">Of the line.</param>
/// <param name="LevelWord">The same, as written lines spell it.</param>
/// <param name="Category">Who said it; the scope of the record.</param>
/// <param name="Event">Its number is an attribute, its name the record's.</param>
/// <param name="Text">The whole sentence.</param>
/// <param name="Fields">What was put into the sentence, by name.</param>
/// <param name="Span">Of the request that it is about; none, if it is about none.</param>
public sealed record OtlpLogRecord(
    DateTimeOffset Time,
    LogLevel Level,
    string LevelWord,
    string Category,
    EventId Event,
    string Text,
    IReadOnlyList<KeyValuePair<string, string>> Fields,
    System.Diagnostics.ActivityContext Span
);
