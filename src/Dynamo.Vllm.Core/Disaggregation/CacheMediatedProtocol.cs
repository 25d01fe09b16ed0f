namespace Dynamo.Vllm.Core.Disaggregation;

/// <summary>Connectors that move blocks through a shared cache: nothing crosses per request, but the envelope must be there.</summary>
internal sealed class CacheMediatedProtocol : IKvConnectorProtocol, IKvHandOver
{
    private static readonly byte[] Empty = "{}"u8.ToArray();

    public ReadOnlyMemory<byte> EngineParamsJson => Empty;

    public bool HoldsBlocks => false;

    public IKvHandOver Begin() => this;

    public ReadOnlyMemory<byte>? Complete(ReadOnlyMemory<byte>? engineResultJson) => Empty;
}
