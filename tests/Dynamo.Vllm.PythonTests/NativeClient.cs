using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;

namespace Dynamo.Vllm.PythonTests;

/// <summary>In vLLM's own contract.</summary>
internal sealed class NativeClient : GrpcWorkerClient
{
    public NativeClient(WorkerProcess worker, int port)
        : base(worker, port)
    {
        Inference = new Inference.InferenceClient(Channel);
        Control = new Control.ControlClient(Channel);
    }

    public Inference.InferenceClient Inference { get; }

    public Control.ControlClient Control { get; }
}
