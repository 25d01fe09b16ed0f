using System.Diagnostics;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Core.Requests;
using Dynamo.Vllm.Protocol.Errors;
using Dynamo.Vllm.Protocol.Responses;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary>The caller of one request: its connection is there already, and its error is the status at the end.</summary>
internal sealed class NativeCaller : ICallHome
{
    private readonly Func<GenerateResponse, bool, Task> _write;
    private readonly CancellationToken _left;
    private CancellationTokenRegistration _watch;
    private Action? _itemSent;
    private ResponseBuilder? _answer;
    private bool _hasBegun;

    /// <param name="write">Takes one, and whether another follows at once.</param>
    /// <param name="left">Fires when the caller is gone.</param>
    public NativeCaller(Func<GenerateResponse, bool, Task> write, CancellationToken left)
    {
        _write = write;
        _left = left;
    }

    public long BodyBytes { get; private set; }

    public Action? ItemSent
    {
        set => _itemSent = value;
    }

    /// <summary>What the caller is to be told in place of more; null for nothing.</summary>
    public DynamoError? Error { get; private set; }

    /// <summary>The answer came to its end.</summary>
    public bool IsComplete { get; private set; }

    /// <summary>The request was read: this is what its answer is like.</summary>
    public void Expect(ResponseBuilder answer) => _answer = answer;

    public void Watch(RequestContext context) =>
        _watch = _left.UnsafeRegister(static state => ((RequestContext)state!).Cancel(CancellationCause.Disconnect), context);

    public async ValueTask WriteAsync(EngineOutput output)
    {
        var answer = _answer!; // an output is one of a request that was read
        var built = answer.Build(output);
        if (!_hasBegun)
        {
            _hasBegun = true;
            await SendAsync(new GenerateResponse { PromptInfo = answer.BuildPrompt(output) }, hasMore: built is not null)
                .ConfigureAwait(false);
        }

        if (built is not null)
        {
            await SendAsync(new GenerateResponse { Outputs = built }, hasMore: false).ConfigureAwait(false);
        }
    }

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

    private async Task SendAsync(GenerateResponse response, bool hasMore)
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
