using System.Text.Json;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol;

namespace Dynamo.Vllm.Core.Adapters;

/// <summary>The endpoints <c>load_lora</c>, <c>unload_lora</c> and <c>list_loras</c>: one item, whatever happens.</summary>
public sealed class AdapterEndpointHandler : IEndpointHandler
{
    private readonly Func<JsonNode?, CancellationToken, Task<AdapterReply>> _call;

    public AdapterEndpointHandler(Func<JsonNode?, CancellationToken, Task<AdapterReply>> call) => _call = call;

    public async Task HandleAsync(RequestContext context, IResponseWriter responses)
    {
        var reply = await _call(JsonPayload.ParseBody(context.Body.Span, context.Codec), context.Cancelled);
        var json = JsonSerializer.SerializeToUtf8Bytes(reply.ToJson(withHotSwap: true), JsonNodeContext.Default.JsonObject);
        await responses.WriteAsync(json);
    }
}
