using System.Globalization;
using Dynamo.Vllm.Testing;
using Grpc.Core;

namespace Dynamo.Vllm.PythonTests;

/// <summary>Tests of a worker that takes requests over gRPC.</summary>
public abstract class GrpcRequestTests : SimulatedWorkerTests
{
    /// <summary>Tokens of an answer that something else comes in the middle of.</summary>
    protected const int Endless = 1000;

    /// <returns>A worker, and its port for gRPC.</returns>
    protected async Task<(WorkerProcess Worker, int Port)> ServeGrpcAsync(
        string[] arguments,
        IReadOnlyDictionary<string, string>? environment
    )
    {
        var port = FreePorts.Next();
        var worker = await StartAsync(
            ["--grpc-port", port.ToString(CultureInfo.InvariantCulture), "--grpc-requests", .. arguments],
            environment: environment
        );
        return (worker, port);
    }

    protected static async Task FailsAsync<T>(StatusCode code, string text, AsyncUnaryCall<T> call)
    {
        using (call)
        {
            await FailsAsync(code, text, call.ResponseAsync);
        }
    }

    protected static async Task FailsAsync(StatusCode code, string text, Task call)
    {
        var failure = await Assert.ThrowsAsync<RpcException>(() => call);
        Assert.Equal((code, text), (failure.StatusCode, failure.Status.Detail));
    }
}
