using Grpc.Core;

namespace Dynamo.Vllm.Worker.GrpcRequests;

/// <summary>The door for calls in vLLM's gRPC contracts. The stages open and close it; calls come at any time. Thread-safe.</summary>
internal sealed class GrpcIntake : IDisposable
{
    private readonly CancellationTokenSource _closed = new();
    private volatile GrpcServing? _serving;

    public GrpcIntake() => Closed = _closed.Token;

    /// <summary>Requests are taken, and the worker is not about to leave: what the health of the services says.</summary>
    public bool IsInviting => _serving is { Registration.IsLeaving: false } && !Closed.IsCancellationRequested;

    /// <summary>Fires when no more requests are taken: streams that would never end by themselves end then.</summary>
    public CancellationToken Closed { get; }

    /// <summary>The worker serves.</summary>
    public void Open(GrpcServing serving) => _serving = serving;

    /// <summary>No more requests. Those that run go on, and may still be aborted.</summary>
    public void Close() => _closed.Cancel();

    /// <summary>For calls that are no requests.</summary>
    /// <exception cref="RpcException">The worker does not serve yet.</exception>
    public GrpcServing Serving => _serving ?? throw Unavailable("the worker is starting: its engine does not serve yet");

    /// <summary>For a request.</summary>
    /// <exception cref="RpcException">The worker does not serve yet, or no longer.</exception>
    public GrpcServing Enter() => Closed.IsCancellationRequested ? throw Stopping() : Serving;

    public static RpcException Stopping() => Unavailable("the worker is stopping and takes no more requests");

    public void Dispose()
    {
        _serving?.Loads.Dispose();
        _closed.Dispose();
    }

    private static RpcException Unavailable(string text) => new(new Status(StatusCode.Unavailable, text));
}
