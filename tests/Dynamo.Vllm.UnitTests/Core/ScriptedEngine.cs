using System.Collections.Concurrent;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.UnitTests.Core;

/// <summary>An engine whose outputs a test pushes one by one. Keeps the contract of IEngine.</summary>
internal sealed class ScriptedEngine : IEngine
{
    private readonly TaskCompletionSource<string> _died = new();

    public event Action<EngineLoad>? LoadChanged;

    public EngineDescription Description { get; init; } =
        new()
        {
            EngineVersion = "fake",
            Model = "fake",
            MaxModelLength = 100,
            BlockSize = 16,
            KvEventBlockSize = 16,
            MaxNumSeqs = 8,
            MaxNumBatchedTokens = 256,
        };

    public int RunningRequests { get; set; }

    public long Steps { get; set; }

    public DynamoError? Released { get; private set; }

    public Task<string> Died => _died.Task;

    public List<ScriptedStream> Streams { get; } = [];

    public List<EngineRequest> Requests { get; } = [];

    public ScriptedControl Control { get; } = new();

    IEngineControl IEngine.Control => Control;

    public void Die(string reason) => _died.TrySetResult(reason);

    public void RaiseLoad(EngineLoad load) => LoadChanged?.Invoke(load);

    public IEngineStream Submit(EngineRequest request)
    {
        Requests.Add(request);
        Streams.Add(new ScriptedStream());
        return Streams[^1];
    }

    public void ReleaseRequests(DynamoError error)
    {
        Released = error;
        Streams.ForEach(stream => stream.Fail(error));
    }
}

/// <summary>One stream of <see cref="ScriptedEngine"/>. An abort ends it at once, as vLLM does.</summary>
internal sealed class ScriptedStream : IEngineStream
{
    // The handler reads on another thread than the test writes.
    private readonly ConcurrentQueue<EngineOutput> _outputs = new();
    private readonly SemaphoreSlim _signal = new(0);
    private DynamoError? _failure;

    public int Aborts { get; private set; }

    public bool IsAbandoned { get; private set; }

    public void Push(
        int[] tokens,
        FinishReason finish = FinishReason.None,
        bool isLast = false,
        int index = 0,
        int prompt = 3,
        int cached = 0,
        Action<EngineOutput>? more = null
    )
    {
        var output = new EngineOutput();
        output.Reset(index, finish, prompt, cached, isLast);
        output.Append(tokens);
        more?.Invoke(output);
        _outputs.Enqueue(output);
        _signal.Release();
    }

    public void Fail(DynamoError error)
    {
        _failure = error;
        _signal.Release();
    }

    public async ValueTask WaitAsync() => await _signal.WaitAsync();

    public bool TryTake([System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out EngineOutput? output)
    {
        if (_outputs.TryDequeue(out output))
        {
            return true;
        }

        return _failure is null ? false : throw new RequestFailedException(_failure);
    }

    public void Abort()
    {
        Aborts++;
        Push([], FinishReason.Abort, isLast: true);
    }

    public void Abandon() => IsAbandoned = true;
}
