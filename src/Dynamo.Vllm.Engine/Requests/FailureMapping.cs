using System.Text.Json;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>Python failures (failures.py) to the errors of the wire (behaviour.md, 15).</summary>
internal static class FailureMapping
{
    /// <summary>The error of a stream that failed.</summary>
    public static DynamoError ToError(JsonElement failure)
    {
        var type = Text(failure, "type");
        var message = Text(failure, "message");
        return Text(failure, "kind") switch
        {
            "http" => DynamoError.Http(failure.GetProperty("status").GetInt32(), message),
            // What a medium lacks is said for the client.
            "media" => DynamoError.Medium(failure.GetProperty("status").GetInt32(), message),
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
        );

    private static string Text(JsonElement failure, string name) =>
        failure.TryGetProperty(name, out var value) ? value.GetString() ?? "" : "";
}
