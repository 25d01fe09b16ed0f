namespace Dynamo.Vllm.Protocol.MessagePack;

/// <summary>What the next MessagePack value is, as far as the decoders here care.</summary>
public enum MessagePackType
{
    Nil,
    Boolean,
    Integer,
    Float,
    String,
    Binary,
    Array,
    Map,
    Extension,
}
