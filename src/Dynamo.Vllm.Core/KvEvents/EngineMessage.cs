namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>One message of the engine's publisher; valid until the call that brought it has completed.</summary>
/// <param name="Frames">Number of frames; <see cref="FramesNeeded"/> are right.</param>
/// <param name="Sequence">Second frame.</param>
/// <param name="Payload">Third frame.</param>
public readonly record struct EngineMessage(int Frames, ReadOnlyMemory<byte> Sequence, ReadOnlyMemory<byte> Payload)
{
    /// <summary>Topic, sequence, payload.</summary>
    public const int FramesNeeded = 3;
}
