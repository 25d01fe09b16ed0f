using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Testing.Relay;

/// <summary>An engine that only describes itself and reports load.</summary>
public sealed class EngineFake : IEngine
{
    public EngineFake(EngineDescription description) => Description = description;

    public EngineDescription Description { get; }

    public int RunningRequests => 0;

    public long Steps => 0;

    public Task<string> Died { get; } = new TaskCompletionSource<string>().Task;

    public event Action<EngineLoad>? LoadChanged;

    public void Report(EngineLoad load) => LoadChanged?.Invoke(load);

    public IEngineStream Submit(EngineRequest request) => throw new NotSupportedException("this engine generates nothing");

    public void ReleaseRequests(DynamoError error)
    {
        // None run here.
    }

    public IEngineControl Control => throw new NotSupportedException("this engine has no controls");
}
