using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Requests;

namespace Dynamo.Vllm.Core.Generate;

/// <summary>The <c>clear_kv_blocks</c> endpoint: drops the prefix cache (behaviour.md, 4).</summary>
public sealed class ClearKvBlocksHandler : IEndpointHandler
{
    private readonly IEngineControl _engine;

    public ClearKvBlocksHandler(IEngineControl engine) => _engine = engine;

    public async Task HandleAsync(RequestContext context, IResponseWriter responses) =>
        await responses.WriteAsync(
            JsonSerializer.SerializeToUtf8Bytes(await ClearAsync(context.Cancelled), JsonNodeContext.Default.JsonObject)
        );

    private async Task<JsonObject> ClearAsync(CancellationToken cancellationToken)
    {
        try
        {
            var isEmpty = await _engine.ResetPrefixCacheAsync(resetConnector: true, resetRunningRequests: false, cancellationToken);
            return isEmpty
                ? new JsonObject { ["status"] = "success", ["message"] = "KV cache cleared" }
                : new JsonObject { ["status"] = "error", ["message"] = "KV cache reset failed" };
        }
        catch (EngineCallException exception)
        {
            return new JsonObject { ["status"] = "error", ["message"] = exception.Message };
        }
    }
}
