namespace Dynamo.Vllm.Worker.Telemetry;

/// <summary>What <see cref="BatchExport{T}"/> says.</summary>
internal static partial class BatchExportLog
{
    [LoggerMessage(EventId = 5127, Level = LogLevel.Information, Message = "{Signal} are exported to {Endpoint}")]
    public static partial void Begin(ILogger logger, string signal, string endpoint);

    [LoggerMessage(
        EventId = 5128,
        Level = LogLevel.Warning,
        Message = "{Signal} cannot be exported to {Endpoint}: {Reason}. These are lost; it is said when it works again"
    )]
    public static partial void Failed(ILogger logger, string signal, string endpoint, string reason);

    [LoggerMessage(EventId = 5129, Level = LogLevel.Information, Message = "{Signal} are exported to {Endpoint} again")]
    public static partial void Again(ILogger logger, string signal, string endpoint);
}
