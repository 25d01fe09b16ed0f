using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.NativeGrpc.Contract;
using Grpc.Net.Client;
using Health = Grpc.Health.V1.Health;

namespace Dynamo.Vllm.PythonTests;

/// <summary>A worker and a client of its gRPC port.</summary>
internal sealed class NativeClient : IAsyncDisposable
{
    private readonly GrpcChannel _channel;

    public NativeClient(WorkerProcess worker, int port)
    {
        Worker = worker;
        _channel = GrpcChannel.ForAddress($"http://127.0.0.1:{port}");
        Inference = new Inference.InferenceClient(_channel);
        Control = new Control.ControlClient(_channel);
        Health = new Health.HealthClient(_channel);
    }

    public WorkerProcess Worker { get; }

    public Inference.InferenceClient Inference { get; }

    public Control.ControlClient Control { get; }

    public Health.HealthClient Health { get; }

    public async ValueTask DisposeAsync()
    {
        _channel.Dispose();
        await Worker.DisposeAsync();
    }
}
