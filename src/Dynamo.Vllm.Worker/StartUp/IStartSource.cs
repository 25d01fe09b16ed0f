using Dynamo.Vllm.Engine;

namespace Dynamo.Vllm.Worker.StartUp;

/// <summary>What there is to see of a start.</summary>
internal interface IStartSource
{
    /// <summary>How far the fetch of the model is; null where there is none.</summary>
    FetchProgress? Fetched { get; }

    /// <summary>Size of the files that are to be read into the engine; null where that is not known. May look into a folder.</summary>
    long? CheckpointBytes { get; }

    /// <summary>What all processes of this worker have read from disks and network
    /// file systems; null where some of them run elsewhere.</summary>
    long? BytesRead { get; }

    /// <summary>Shows each line that vLLM's processes print, on the threads that carry them; null ends it.</summary>
    void Show(Action<string>? take);
}
