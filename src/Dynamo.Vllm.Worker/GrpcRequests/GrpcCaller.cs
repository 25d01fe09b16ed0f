using System.Diagnostics;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Responses;
using Google.Protobuf;

namespace Dynamo.Vllm.Worker.GrpcRequests;

/// <summary>The caller of one request: its connection is there already, and its error is the status at the end.</summary>
/// <typeparam name="TMessage">Of an answer.</typeparam>
internal abstract class GrpcCaller<TMessage> : IGrpcCaller
    where TMessage : IMessage
{
    private readonly Func<TMessage, bool, Task> _write;
    private readonly CancellationToken _left;
    private CancellationTokenRegistration _watch;
    private Action? _itemSent;

    /// <param name="write">Takes one, and whether another follows at once.</param>
    /// <param name="left">Fires when the caller is gone.</param>
    protected GrpcCaller(Func<TMessage, bool, Task> write, CancellationToken left)
    {
        _write = write;
        _left = left;
    }

    public long BodyBytes { get; private set; }

    public Action? ItemSent
    {
        set => _itemSent = value;
    }

    public DynamoError? Error { get; private set; }

    public bool IsComplete { get; private set; }

    public void Watch(RequestContext context) =>
        _watch = _left.UnsafeRegister(static state => ((RequestContext)state!).Cancel(CancellationCause.Disconnect), context);

    public abstract ValueTask WriteAsync(EngineOutput output);

    public ValueTask AcceptAsync() => ValueTask.CompletedTask;

    public ValueTask RefuseAsync(DynamoError error) => WriteErrorAsync(error);

    public ValueTask WriteErrorAsync(DynamoError error)
    {
        Error = error;
        return ValueTask.CompletedTask;
    }

    public ValueTask CompleteAsync()
    {
        IsComplete = true;
        return ValueTask.CompletedTask;
    }

    public ValueTask WriteAsync(TokenDelta delta) => throw new UnreachableException("the handler of such requests gives outputs");

    public ValueTask WriteAsync(ReadOnlyMemory<byte> json) => throw new UnreachableException("the handler of such requests gives outputs");

    public ValueTask WriteBareAsync(ReadOnlyMemory<byte> item) =>
        throw new UnreachableException("the handler of such requests gives outputs");

    public ValueTask DisposeAsync() => _watch.DisposeAsync();

    protected async Task SendAsync(TMessage response, bool hasMore)
    {
        try
        {
            await _write(response, hasMore).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is OperationCanceledException or InvalidOperationException)
        {
            // Boundary mapping (style E3): so the library says that the call is over.
            throw new IOException("the caller has left", exception);
        }

        BodyBytes += response.CalculateSize();
        _itemSent?.Invoke();
    }
}
