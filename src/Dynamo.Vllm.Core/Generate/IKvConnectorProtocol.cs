namespace Dynamo.Vllm.Core.Generate;

/// <summary>What a KV connector wants on a prefill worker, and what it hands to the decode side (behaviour.md, 14).</summary>
public interface IKvConnectorProtocol
{
    /// <summary>Begins one hand-over.</summary>
    /// <exception cref="Protocol.Errors.RequestFailedException">The connector cannot hand over between prefill and decode.</exception>
    IKvHandOver Begin();
}

/// <summary>One hand-over.</summary>
public interface IKvHandOver
{
    /// <summary>Parameters for the engine, as JSON.</summary>
    ReadOnlyMemory<byte> EngineParamsJson { get; }

    /// <summary>Parameters for the decode side, from what the engine returned; null: there is nothing to hand over.</summary>
    ReadOnlyMemory<byte>? Complete(ReadOnlyMemory<byte>? engineResultJson);
}
