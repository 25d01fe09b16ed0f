namespace Dynamo.Vllm.Core.Disaggregation;

/// <summary>Connectors whose blocks the decode side pulls: NIXL in its variants. The engine's result travels unchanged.</summary>
internal sealed class PullProtocol : IKvConnectorProtocol, IKvHandOver
{
    private static readonly byte[] Params =
        """{"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,"remote_block_ids":null,"remote_host":null,"remote_port":null}"""u8.ToArray();

    public ReadOnlyMemory<byte> EngineParamsJson => Params;

    public bool HoldsBlocks => true;

    public IKvHandOver Begin() => this; // stateless: the same parameters for each request

    public ReadOnlyMemory<byte>? Complete(ReadOnlyMemory<byte>? engineResultJson) => engineResultJson;
}
