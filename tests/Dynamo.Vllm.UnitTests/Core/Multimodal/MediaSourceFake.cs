using System.Text;
using Dynamo.Vllm.Core.Multimodal;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Multimodal;

namespace Dynamo.Vllm.UnitTests.Core.Multimodal;

/// <summary>Gives the URL itself as the bytes; <c>bad:</c> is refused, <c>never:</c> waits until nobody wants it.</summary>
internal sealed class MediaSourceFake : IMediaSource
{
    private int _ended;

    public List<string> Asked { get; } = [];

    /// <summary>Waits that were ended.</summary>
    public int Ended => Volatile.Read(ref _ended);

    public TaskCompletionSource Waiting { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public async Task<ReadOnlyMemory<byte>> FetchAsync(
        MediaKind kind,
        string url,
        string field,
        string? scope,
        CancellationToken cancellationToken
    )
    {
        lock (Asked)
        {
            Asked.Add($"{kind} {field} {url} {scope}");
        }

        if (url.StartsWith("bad:", StringComparison.Ordinal))
        {
            throw new RequestFailedException(DynamoError.Medium(415, field));
        }

        if (url.StartsWith("never:", StringComparison.Ordinal))
        {
            Waiting.TrySetResult();
            try
            {
                await Task.Delay(Timeout.Infinite, cancellationToken);
            }
            finally
            {
                Interlocked.Increment(ref _ended);
            }
        }

        return Encoding.UTF8.GetBytes(url);
    }
}
