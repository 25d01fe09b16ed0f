using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.Core.Requests;

/// <summary>Where the items go that nobody can hear.</summary>
internal sealed class DiscardedResponses : IResponseWriter
{
    public static readonly DiscardedResponses Instance = new();

    public ValueTask WriteAsync(TokenDelta delta) => ValueTask.CompletedTask;

    public ValueTask WriteAsync(ReadOnlyMemory<byte> json) => ValueTask.CompletedTask;

    public ValueTask WriteBareAsync(ReadOnlyMemory<byte> item) => ValueTask.CompletedTask;
}
