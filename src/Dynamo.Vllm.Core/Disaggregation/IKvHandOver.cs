namespace Dynamo.Vllm.Core.Disaggregation;

/// <summary>One hand-over.</summary>
public interface IKvHandOver
{
    /// <summary>Parameters for the engine, as JSON.</summary>
    ReadOnlyMemory<byte> EngineParamsJson { get; }

    /// <summary>Blocks stay held in this engine until the decode side has pulled them.</summary>
    bool HoldsBlocks { get; }

    /// <summary>Parameters for the decode side, from what the engine returned; null: there is nothing to hand over.</summary>
    ReadOnlyMemory<byte>? Complete(ReadOnlyMemory<byte>? engineResultJson);
}
