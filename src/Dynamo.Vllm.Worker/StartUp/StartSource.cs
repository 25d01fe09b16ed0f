using Dynamo.Vllm.Engine;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Worker.Logging;
using Dynamo.Vllm.Worker.Stages;

namespace Dynamo.Vllm.Worker.StartUp;

/// <summary>The start of this process.</summary>
internal sealed class StartSource : IStartSource
{
    private readonly StandardOutputs _outputs;
    private readonly EngineArgumentsStage _arguments;
    private readonly ModelStage _model;

    public StartSource(StandardOutputs outputs, EngineArgumentsStage arguments, ModelStage model)
    {
        _outputs = outputs;
        _arguments = arguments;
        _model = model;
    }

    public FetchProgress? Fetched => _arguments.Fetched;

    public long? CheckpointBytes => _model.ReadsWeights ? CheckpointFiles.Bytes(_model.Folder) : null;

    public long? BytesRead => _arguments.IsEngineOnThisHost ? LoadWork.Read().BytesRead : null;

    public void Show(Action<string>? take) => _outputs.Show(take);
}
