using System.Text;
using System.Text.Json.Nodes;

namespace Dynamo.Vllm.Core.Disaggregation;

/// <summary>Mooncake: prefill pushes blocks under a transfer id that both sides know, announced by a bootstrap server.</summary>
internal sealed class PushProtocol : IKvConnectorProtocol
{
    private readonly string _bootstrapAddress;
    private readonly string? _engineId;
    private readonly IIdSource _ids;

    /// <param name="bootstrapAddress"><c>http://host:port</c> of the engine's bootstrap server.</param>
    /// <param name="engineId">Engine id of the connector that moves the blocks.</param>
    /// <param name="ids">Of transfers.</param>
    public PushProtocol(string bootstrapAddress, string? engineId, IIdSource ids)
    {
        _bootstrapAddress = bootstrapAddress;
        _engineId = engineId;
        _ids = ids;
    }

    public IKvHandOver Begin() => new HandOver(this, _ids.Next());

    private sealed class HandOver : IKvHandOver
    {
        private readonly PushProtocol _protocol;
        private readonly string _transferId;

        public HandOver(PushProtocol protocol, string transferId)
        {
            _protocol = protocol;
            _transferId = transferId;
            EngineParamsJson = Encode(
                new JsonObject
                {
                    ["do_remote_decode"] = true,
                    ["do_remote_prefill"] = false,
                    ["transfer_id"] = transferId,
                }
            );
        }

        public ReadOnlyMemory<byte> EngineParamsJson { get; }

        public bool HoldsBlocks => true;

        public ReadOnlyMemory<byte>? Complete(ReadOnlyMemory<byte>? engineResultJson) =>
            Encode(
                new JsonObject
                {
                    ["do_remote_decode"] = false,
                    ["do_remote_prefill"] = true,
                    ["transfer_id"] = _transferId,
                    ["remote_bootstrap_addr"] = _protocol._bootstrapAddress,
                    ["remote_engine_id"] = _protocol._engineId,
                }
            );

        private static byte[] Encode(JsonObject json) => Encoding.UTF8.GetBytes(json.ToJsonString());
    }
}
