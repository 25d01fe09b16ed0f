using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;
using Grpc.Core;
using Grpc.Net.Client;
using Health = Grpc.Health.V1.Health;

namespace Dynamo.Vllm.PythonTests;

/// <summary>A worker and a client of its gRPC port, in the gateway's contract.</summary>
internal sealed class GatewayClient : IAsyncDisposable
{
    private readonly GrpcChannel _channel;

    public GatewayClient(WorkerProcess worker, int port)
    {
        Worker = worker;
        _channel = GrpcChannel.ForAddress($"http://127.0.0.1:{port}");
        Engine = new VllmEngine.VllmEngineClient(_channel);
        Health = new Health.HealthClient(_channel);
    }

    public WorkerProcess Worker { get; }

    public VllmEngine.VllmEngineClient Engine { get; }

    public Health.HealthClient Health { get; }

    public Task<List<GenerateResponse>> GenerateAsync(GenerateRequest request) => ReadAsync(Engine.Generate(request));

    public static async Task<List<T>> ReadAsync<T>(AsyncServerStreamingCall<T> call)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        using (call)
        {
            var messages = new List<T>();
            while (await call.ResponseStream.MoveNext(limit.Token))
            {
                messages.Add(call.ResponseStream.Current);
            }

            return messages;
        }
    }

    public async ValueTask DisposeAsync()
    {
        _channel.Dispose();
        await Worker.DisposeAsync();
    }
}
