using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.GatewayGrpc.Contract;

namespace Dynamo.Vllm.PythonTests;

/// <summary>In the gateway's contract.</summary>
internal sealed class GatewayClient : GrpcWorkerClient
{
    public GatewayClient(WorkerProcess worker, int port)
        : base(worker, port) => Engine = new VllmEngine.VllmEngineClient(Channel);

    public VllmEngine.VllmEngineClient Engine { get; }

    public Task<List<GenerateResponse>> GenerateAsync(GenerateRequest request) => ReadAsync(Engine.Generate(request));
}
