using Dynamo.Vllm.Engine;
using Dynamo.Vllm.Worker.StartUp;

namespace Dynamo.Vllm.UnitTests.Worker.StartUp;

/// <summary>A start of which everything is as the test says.</summary>
internal sealed class StartSourceFake : IStartSource
{
    public FetchProgress? Fetched { get; set; }

    public long? CheckpointBytes { get; set; }

    public long? BytesRead { get; set; }

    public Action<string>? Take { get; private set; }

    public void Show(Action<string>? take) => Take = take;
}
