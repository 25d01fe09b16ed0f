namespace Dynamo.Vllm.Core.Engines;

/// <summary>Why the engine ended a choice. The numbers are those of the guest's records (wire.py).</summary>
public enum FinishReason : byte
{
    None = 0,
    Stop = 1,
    Length = 2,
    Abort = 3,
    Error = 4,
    Repetition = 5,

    /// <summary>The engine gave an output without any choice.</summary>
    NoOutputs = 6,

    /// <summary>A word that this version does not know; it is in <see cref="EngineOutput.FinishText"/>.</summary>
    Other = 255,
}
