namespace Dynamo.Vllm.Transports.Client;

/// <summary>The way of requests to one endpoint of one worker. Requests may run side by side.</summary>
internal interface IRequestSender : IAsyncDisposable
{
    /// <summary>Sends a two-part message and waits for its acknowledgement.</summary>
    /// <returns>Empty: accepted. Else the worker's reason to refuse.</returns>
    /// <exception cref="WorkerCallException">Nobody answered, or the way is gone.</exception>
    Task<string> SendAsync(string requestId, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken);
}
