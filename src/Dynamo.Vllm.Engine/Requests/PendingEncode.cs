using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Engine.Requests;

/// <summary>An embedding request between its caller and the guest. Ends once for the caller; known until the guest has answered.</summary>
internal sealed class PendingEncode(ulong id)
{
    // The delivery loop goes on.
    private readonly TaskCompletionSource<PromptVectors> _answer = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public ulong Id { get; } = id;

    public Task<PromptVectors> Answer => _answer.Task;

    public void Complete(PromptVectors vectors) => _answer.TrySetResult(vectors);

    public void Fail(DynamoError error) => _answer.TrySetException(new RequestFailedException(error));

    /// <summary>The caller waits no more. False: it had its end already.</summary>
    public bool TryCancel(CancellationToken cancellationToken) => _answer.TrySetCanceled(cancellationToken);
}
