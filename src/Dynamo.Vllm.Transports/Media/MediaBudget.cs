using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Transports.Media;

/// <summary>Bytes of media that are being received. Thread-safe.</summary>
internal sealed class MediaBudget(long bytesMax)
{
    private long _bytes;

    public long Bytes => Volatile.Read(ref _bytes);

    /// <exception cref="RequestFailedException">Too much is being received already: the request may go to another worker.</exception>
    public void Take(long bytes)
    {
        if (Interlocked.Add(ref _bytes, bytes) > bytesMax)
        {
            Give(bytes);
            throw new RequestFailedException(
                DynamoError.WorkerOverloaded($"media that are being fetched take more than {bytesMax} bytes, the limit of this worker")
            );
        }
    }

    public void Give(long bytes) => Interlocked.Add(ref _bytes, -bytes);
}
