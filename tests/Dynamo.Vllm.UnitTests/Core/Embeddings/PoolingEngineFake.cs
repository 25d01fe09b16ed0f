using System.Runtime.InteropServices;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Requests;

namespace Dynamo.Vllm.UnitTests.Core.Embeddings;

/// <summary>An engine that answers when the test says so, and sees cancellation at once, as the real one does.</summary>
internal sealed class PoolingEngineFake : IPoolingEngine
{
    private readonly TaskCompletionSource<PromptVectors> _answer = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public EngineDescription Description { get; init; } = new ScriptedEngine().Description;

    public List<(string Id, EmbeddingRequest Request)> Requests { get; } = [];

    public void Answer(long promptTokens, params float[][] vectors) =>
        _answer.SetResult(
            new PromptVectors(
                MemoryMarshal.AsBytes<float>(vectors.SelectMany(vector => vector).ToArray()).ToArray(),
                [.. vectors.Select(vector => vector.Length * sizeof(float))],
                [.. vectors.Select(_ => -1)],
                promptTokens
            )
        );

    public void Fail(Exception exception) => _answer.SetException(exception);

    public List<ClassificationRequest> Classifications { get; } = [];

    public Task<PromptVectors> EncodeAsync(string requestId, ClassificationRequest request, CancellationToken cancellationToken)
    {
        Classifications.Add(request);
        return _answer.Task.WaitAsync(cancellationToken);
    }

    public Task<PromptVectors> EncodeAsync(string requestId, EmbeddingRequest request, CancellationToken cancellationToken)
    {
        Requests.Add((requestId, request));
        return _answer.Task.WaitAsync(cancellationToken);
    }
}
