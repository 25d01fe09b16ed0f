namespace Dynamo.Vllm.Core.Disaggregation;

/// <summary>What a KV connector wants on a prefill worker, and what it hands to the decode side (behaviour.md, 14).</summary>
public interface IKvConnectorProtocol
{
    /// <summary>Begins one hand-over.</summary>
    /// <exception cref="Protocol.Errors.RequestFailedException">The connector cannot hand over between prefill and decode.</exception>
    IKvHandOver Begin();
}
