using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;

namespace Dynamo.Vllm.Worker.Control;

/// <summary>The <c>rl</c> endpoint: tells trainers which control calls there are, and where (behaviour.md, 4).</summary>
internal sealed class RlEndpointHandler : IEndpointHandler
{
    /// <summary>Control calls that trainers are told of, in the order of the alphabet.</summary>
    private static readonly string[] Calls =
    [
        "abort_request",
        "destroy_weights_update_group",
        "flush_cache",
        "get_weight_version",
        "init_weights_update_group",
        "liveness_probe",
        "load_lora",
        "pause_generation",
        "resume_generation",
        "set_weight_version",
        "unload_lora",
        "update_weights_from_disk",
        "update_weights_from_distributed",
        "update_weights_from_tensor",
    ];

    private readonly IReadOnlyList<string> _routes;
    private readonly Func<string?> _statusUrl;
    private readonly int _worldSize;

    /// <param name="takesAdapters">The calls for adapters exist.</param>
    /// <param name="statusUrl">Of the status port; null where there is none.</param>
    /// <param name="worldSize">Processes that hold a part of the model.</param>
    public RlEndpointHandler(bool takesAdapters, Func<string?> statusUrl, int worldSize)
    {
        _routes = [.. Calls.Where(call => takesAdapters || call is not ("load_lora" or "unload_lora"))];
        _statusUrl = statusUrl;
        _worldSize = worldSize;
    }

    public async Task HandleAsync(RequestContext context, IResponseWriter responses) =>
        await responses.WriteAsync(
            JsonSerializer.SerializeToUtf8Bytes(
                Answer(JsonPayload.ParseBody(context.Body.Span, context.Codec)),
                JsonNodeContext.Default.JsonObject
            )
        );

    private JsonObject Answer(JsonNode? body)
    {
        if (body is not JsonObject request)
        {
            return ControlCalls.Failure("rl_dispatch: request required");
        }

        if (request["method"] is not JsonValue given || !given.TryGetValue<string>(out var method) || method.Length == 0)
        {
            return ControlCalls.Failure("rl_dispatch: missing 'method' (str)");
        }

        if (method != "routes")
        {
            return Failure(method, "rl request-plane endpoint only supports method='routes'");
        }

        return request.TryGetPropertyValue("kwargs", out var arguments) && arguments is not JsonObject
            ? Failure(method, "rl_dispatch: 'kwargs' must be an object")
            : Describe();
    }

    private JsonObject Describe()
    {
        var answer = new JsonObject
        {
            ["status"] = "ok",
            ["routes"] = new JsonArray([.. _routes.Select(route => JsonValue.Create(route))]),
        };
        if (_statusUrl() is { } url)
        {
            answer["system_url"] = url;
        }

        answer["world_size"] = _worldSize;
        return answer;
    }

    private static JsonObject Failure(string method, string message) =>
        new()
        {
            ["status"] = "error",
            ["method"] = method,
            ["message"] = message,
        };
}
