namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>Receives the engine's cache events.</summary>
public interface IEngineEventFeed
{
    /// <summary>Connects, and connects again, until cancelled.</summary>
    /// <param name="endpoint">Address of one rank's publisher.</param>
    /// <param name="sink">Hears everything on the feed's own loop, in order.</param>
    /// <param name="cancellationToken">The only way to end it.</param>
    Task RunAsync(string endpoint, IEngineEventSink sink, CancellationToken cancellationToken);
}

/// <summary>What the owner of a rank hears from the feed. One call at a time.</summary>
public interface IEngineEventSink
{
    /// <summary>Connected and subscribed.</summary>
    void OnConnected();

    /// <summary>A connection ended, or an attempt failed. The feed goes on.</summary>
    void OnDisconnected(string problem);

    /// <summary>A message. Nothing more is read until the call has completed, so the socket's buffers are the queue.</summary>
    ValueTask OnMessageAsync(EngineMessage message);
}
