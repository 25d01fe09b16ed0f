using Grpc.Core;

namespace Dynamo.Vllm.Worker.NativeGrpc;

/// <summary>The door for calls in vLLM's own contract. The stages open and close it; calls come at any time. Thread-safe.</summary>
internal sealed class NativeIntake
{
    private volatile NativeServing? _serving;
    private volatile bool _isClosed;

    /// <summary>Requests are taken, and the worker is not about to leave: what the health of the services says.</summary>
    public bool IsInviting => _serving is { Registration.IsLeaving: false } && !_isClosed;

    /// <summary>The worker serves.</summary>
    public void Open(NativeServing serving) => _serving = serving;

    /// <summary>No more requests. Those that run go on, and may still be aborted.</summary>
    public void Close() => _isClosed = true;

    /// <summary>For calls that are no requests.</summary>
    /// <exception cref="RpcException">The worker does not serve yet.</exception>
    public NativeServing Serving => _serving ?? throw Unavailable("the worker is starting: its engine does not serve yet");

    /// <summary>For a request.</summary>
    /// <exception cref="RpcException">The worker does not serve yet, or no longer.</exception>
    public NativeServing Enter() => _isClosed ? throw Unavailable("the worker is stopping and takes no more requests") : Serving;

    private static RpcException Unavailable(string text) => new(new Status(StatusCode.Unavailable, text));
}
