using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.Core.Requests;

/// <summary>The items of one response. One writer at a time; each call returns when the item may be forgotten.</summary>
/// <remarks>A call waits while the caller does not read, which is the back-pressure on the engine stream.</remarks>
public interface IResponseWriter
{
    ValueTask WriteAsync(TokenDelta delta);

    /// <summary>An item that is any JSON value.</summary>
    ValueTask WriteAsync(ReadOnlyMemory<byte> json);

    /// <summary>An item that is one MessagePack value, without the wrapper that the items of generate have.</summary>
    ValueTask WriteBareAsync(ReadOnlyMemory<byte> messagePack);
}
