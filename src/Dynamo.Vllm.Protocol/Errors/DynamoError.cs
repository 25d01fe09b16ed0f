using System.Text;

namespace Dynamo.Vllm.Protocol.Errors;

/// <summary>The error object of the response stream (llm-errors.md, 2). Its class and reason choose what the caller does.</summary>
/// <remarks>
/// <see cref="Type"/> decides quarantine of this worker, <see cref="Reason"/> decides migration, and only <see cref="PublicMessage"/>
/// reaches a client. So a factory exists for each combination that a peer understands, and nothing else can be built.
/// Golden file: tests/golden/llm/wire-frames.json.
/// </remarks>
public sealed class DynamoError
{
    /// <summary><see cref="Class"/> of what the caller can mend.</summary>
    public const string InvalidRequestClass = "InvalidRequest";

    private DynamoError(
        string type,
        bool isBackendType,
        string errorClass,
        string reason,
        string message,
        string? publicMessage = null,
        string? text = null
    )
    {
        Type = type;
        IsBackendType = isBackendType;
        Class = errorClass;
        Reason = reason;
        Message = Truncate(message);
        Text = text is null ? Message : Truncate(text);
        PublicMessage = publicMessage is null ? null : Truncate(publicMessage);
    }

    /// <summary>The older name, written as a string or, if <see cref="IsBackendType"/>, as <c>{"Backend": name}</c>.</summary>
    public string Type { get; }

    public bool IsBackendType { get; }

    public string Class { get; }

    public string Reason { get; }

    /// <summary>Operator text; never shown to a client.</summary>
    public string Message { get; }

    /// <summary><see cref="Message"/> for callers of other protocols: without the JSON in which an HTTP error travels.</summary>
    public string Text { get; }

    /// <summary>The text that a client sees, or null for the generic text of the class.</summary>
    public string? PublicMessage { get; }

    /// <summary>The request cannot be served as it is; the text is shown to the client. HTTP 400.</summary>
    public static DynamoError InvalidArgument(string message) =>
        new("InvalidArgument", true, InvalidRequestClass, "backend.invalid_argument", message, message);

    /// <summary>As <see cref="InvalidArgument"/>, with the generic text for the client.</summary>
    public static DynamoError InvalidArgumentPrivate(string message) =>
        new("InvalidArgument", true, InvalidRequestClass, "backend.invalid_argument", message);

    /// <summary>The request was cancelled. HTTP 499, never retried.</summary>
    public static DynamoError Cancelled(string message) => Backend("Cancelled", "Cancelled", "backend.cancelled", message);

    /// <summary>The engine goes away while the request runs. Quarantines this worker; the request may migrate.</summary>
    public static DynamoError EngineShutdown(string message) =>
        Backend("EngineShutdown", "Unavailable", "backend.engine_shutdown", message);

    public static DynamoError StreamIncomplete(string message) =>
        Backend("StreamIncomplete", "Unavailable", "backend.stream_incomplete", message);

    public static DynamoError CannotConnect(string message) => Backend("CannotConnect", "Unavailable", "backend.cannot_connect", message);

    public static DynamoError Disconnected(string message) => Backend("Disconnected", "Unavailable", "backend.disconnected", message);

    public static DynamoError ConnectionTimeout(string message) =>
        Backend("ConnectionTimeout", "DeadlineExceeded", "backend.connection_timeout", message);

    /// <summary>A fault of this worker that says nothing about later requests. HTTP 500, no quarantine.</summary>
    public static DynamoError Unknown(string message) => Backend("Unknown", "Internal", "backend.unknown", message);

    /// <summary>This worker takes no more requests. Quarantines it; the request may migrate.</summary>
    public static DynamoError WorkerUnavailable(string message) =>
        new("WorkerUnavailable", false, "Unavailable", "backend.worker_unavailable", message);

    /// <summary>This worker is full. The request may migrate; the worker is avoided for a second.</summary>
    public static DynamoError WorkerOverloaded(string message) =>
        new("ResourceExhausted", false, "CapacityExhausted", "capacity.worker_overloaded", message);

    /// <summary>The envelope is not what this worker can read. HTTP 400.</summary>
    public static DynamoError InvalidRequest(string message) =>
        new("InvalidArgument", false, InvalidRequestClass, "request.invalid", message);

    /// <summary>An error with an HTTP status, as vLLM's own client errors are reported (behaviour.md, 15).</summary>
    public static DynamoError Http(int status, string message)
    {
        var text = HttpErrorText.Format(status, message);
        return status switch
        {
            400 or 422 => new("InvalidArgument", false, InvalidRequestClass, "request.invalid", text, text: message),
            404 => new("Unknown", false, "NotFound", "request.not_found", text, text: message),
            429 => new("ResourceExhausted", false, "RateLimited", "request.rate_limited", text, text: message),
            503 => new("Unavailable", false, "Unavailable", "backend.unavailable", text, text: message),
            _ => new("Unknown", false, "Internal", "runtime.internal", text, text: message),
        };
    }

    /// <summary>A medium that the client named cannot be used, with the status that says so best and a text for the client.</summary>
    /// <remarks>
    /// Only what the client can mend: a status that says something of this worker would have it avoided for the client's mistake.
    /// </remarks>
    public static DynamoError Medium(int status, string message) =>
        status switch
        {
            403 => new("Unknown", false, "PermissionDenied", "request.permission_denied", message, message),
            404 => new("Unknown", false, "NotFound", "request.not_found", message, message),
            415 => new("InvalidArgument", false, "UnsupportedMedia", "request.unsupported_media", message, message),
            _ => InvalidArgument(message),
        };

    public override string ToString() => $"{Class}/{Reason}: {Message}";

    private static DynamoError Backend(string type, string errorClass, string reason, string message) =>
        new(type, true, errorClass, reason, message);

    private static string Truncate(string text)
    {
        const string suffix = "...[truncated]";
        if (text.Length <= Limits.ErrorMessageBytesMax / 4 || Encoding.UTF8.GetByteCount(text) <= Limits.ErrorMessageBytesMax)
        {
            return text;
        }

        var end = text.Length;
        while (Encoding.UTF8.GetByteCount(text.AsSpan(0, end)) > Limits.ErrorMessageBytesMax - suffix.Length)
        {
            end = Math.Min(end - 1, end * 15 / 16);
        }

        // A cut inside a surrogate pair would not be encodable.
        end = end > 0 && char.IsHighSurrogate(text[end - 1]) ? end - 1 : end;
        return string.Concat(text.AsSpan(0, end), suffix);
    }
}
