using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Requests;
using Dynamo.Vllm.Protocol.Responses;

namespace Dynamo.Vllm.UnitTests.Core.Requests;

/// <summary>A caller within the test: what it was told, and the end of its stream.</summary>
internal sealed class CallHomeFake(RequestEnvelope envelope) : ICallHome
{
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously); // the test goes on elsewhere

    public string RequestId => envelope.Id;

    public RequestContext? Context { get; private set; }

    public bool IsAccepted { get; private set; }

    public DynamoError? Refusal { get; private set; }

    public DynamoError? Error { get; private set; }

    public int Items { get; private set; }

    /// <summary>The stream had its final item, or was refused.</summary>
    public Task Ended => _ended.Task;

    public long BodyBytes => 0;

    public Action? ItemSent { private get; set; }

    public void Watch(RequestContext context) => Context = context;

    public ValueTask AcceptAsync()
    {
        IsAccepted = true;
        return ValueTask.CompletedTask;
    }

    public ValueTask RefuseAsync(DynamoError error)
    {
        Refusal = error;
        _ended.TrySetResult();
        return ValueTask.CompletedTask;
    }

    public ValueTask WriteErrorAsync(DynamoError error)
    {
        Error = error;
        return ValueTask.CompletedTask;
    }

    public ValueTask CompleteAsync()
    {
        _ended.TrySetResult();
        return ValueTask.CompletedTask;
    }

    public ValueTask WriteAsync(TokenDelta delta) => AddItem();

    public ValueTask WriteAsync(ReadOnlyMemory<byte> json) => AddItem();

    public ValueTask WriteBareAsync(ReadOnlyMemory<byte> messagePack) => AddItem();

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private ValueTask AddItem()
    {
        Items++;
        ItemSent?.Invoke();
        return ValueTask.CompletedTask;
    }
}
