using System.Text.Json.Nodes;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.UnitTests.Core.ImageEncoding;

/// <summary>Keeps items that are any JSON value.</summary>
internal sealed class ValueResponses : IResponseWriter
{
    public List<JsonNode?> Values { get; } = [];

    public ValueTask WriteAsync(TokenDelta delta) => throw new NotSupportedException();

    public ValueTask WriteAsync(ReadOnlyMemory<byte> json)
    {
        Values.Add(JsonNode.Parse(json.Span));
        return ValueTask.CompletedTask;
    }

    public ValueTask WriteBareAsync(ReadOnlyMemory<byte> messagePack) => throw new NotSupportedException();
}
