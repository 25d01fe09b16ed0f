namespace Dynamo.Vllm.Engine.Direct;

/// <summary>First frame of a message to the engine (docs/protocol/engine-core.md, 3).</summary>
internal enum EngineMessageType : byte
{
    Add = 0,
    Abort = 1,
}
