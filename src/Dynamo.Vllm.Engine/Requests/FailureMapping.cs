using System.Text.Json;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>Python failures (failures.py) to the errors of the wire (behaviour.md, 15).</summary>
internal static class FailureMapping
{
    /// <summary>The error of a stream that failed.</summary>
    public static DynamoError ToError(JsonElement failure) =>
        ToError(Text(failure, "kind"), Text(failure, "type"), Text(failure, "message"), Status(failure));

    /// <summary>The error of a call whose caller is a client's request.</summary>
    public static DynamoError ToError(EngineCallException failure) =>
        ToError(failure.Kind, failure.PythonType, failure.Message, failure.Status);

    private static DynamoError ToError(string kind, string type, string message, int status)
    {
        return kind switch
        {
            "http" => DynamoError.Http(status, message),
            // What a medium lacks is said for the client.
            "media" => DynamoError.Medium(status, message),
            "invalid_argument" => DynamoError.InvalidArgumentPrivate($"{type}: {message}"),
            "timeout" => DynamoError.ConnectionTimeout($"{type}: {message}"),
            "disconnected" => DynamoError.Disconnected($"{type}: {message}"),
            // The process is about to leave; the request may run elsewhere.
            "engine_dead" => DynamoError.EngineShutdown($"{type}: {message}"),
            _ => DynamoError.Unknown($"{type}: {message}"),
        };
    }

    /// <summary>The error of an embedding request that failed: what vLLM
    /// refuses is said in its words, as its own server says it.</summary>
    public static DynamoError ToEncodeError(JsonElement failure) =>
        Text(failure, "kind") == "http" && failure.GetProperty("status").GetInt32() < 500
            ? DynamoError.InvalidArgument(Text(failure, "message"))
            : ToError(failure);

    public static bool IsEngineDeath(JsonElement failure) => Text(failure, "kind") == "engine_dead";

    /// <summary>The exception of a call that failed.</summary>
    public static EngineCallException ToException(JsonElement failure) =>
        new(
            Text(failure, "kind"),
            Text(failure, "type"),
            Text(failure, "message"),
            failure.TryGetProperty("traceback", out var trace) ? trace.GetString() : null
        )
        {
            Status = Status(failure),
        };

    private static int Status(JsonElement failure) => failure.TryGetProperty("status", out var status) ? status.GetInt32() : 500;

    private static string Text(JsonElement failure, string name) =>
        failure.TryGetProperty(name, out var value) ? value.GetString() ?? "" : "";
}
