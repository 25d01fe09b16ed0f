using Dynamo.Vllm.Testing;
using Grpc.Core;
using Grpc.Net.Client;
using Health = Grpc.Health.V1.Health;

namespace Dynamo.Vllm.PythonTests;

/// <summary>A worker and a client of its gRPC port.</summary>
internal abstract class GrpcWorkerClient : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    protected GrpcWorkerClient(WorkerProcess worker, int port)
    {
        Worker = worker;
        Channel = GrpcChannel.ForAddress($"http://127.0.0.1:{port}");
        Health = new Health.HealthClient(Channel);
    }

    public WorkerProcess Worker { get; }

    public Health.HealthClient Health { get; }

    protected GrpcChannel Channel { get; }

    /// <summary>All messages up to the end of the call, which is disposed of.</summary>
    public static async Task<List<T>> ReadAsync<T>(AsyncServerStreamingCall<T> call)
    {
        using var limit = new CancellationTokenSource(Limit);
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
        Channel.Dispose();
        await Worker.DisposeAsync();
    }
}
