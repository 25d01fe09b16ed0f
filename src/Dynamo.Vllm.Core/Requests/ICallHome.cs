using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.Core.Requests;

/// <summary>Dials back to callers (request-plane.md, 2).</summary>
public interface ICallHomeDialer
{
    /// <summary>Connects and sends the handshake. Bounded in time by itself.</summary>
    Task<ICallHome> DialAsync(RequestEnvelope envelope, CancellationToken cancellationToken);
}

/// <summary>The response stream of one request.</summary>
public interface ICallHome : IResponseWriter, IAsyncDisposable
{
    /// <summary>Bytes of bodies written so far, for the metrics.</summary>
    long BodyBytes { get; }

    /// <summary>Called after each item that went out and was no error. Set once, before the first item.</summary>
    Action? ItemSent { set; }

    /// <summary>Starts watching for the caller's stop, kill or end, which cancels the context.</summary>
    void Watch(RequestContext context);

    /// <summary>Sends the prologue: from here on errors are items.</summary>
    ValueTask AcceptAsync();

    /// <summary>Sends the prologue as a refusal. Nothing follows.</summary>
    ValueTask RefuseAsync(DynamoError error);

    ValueTask WriteErrorAsync(DynamoError error);

    /// <summary>Sends the final item and the sentinel, then waits (bounded) until the caller has closed.</summary>
    ValueTask CompleteAsync();
}
