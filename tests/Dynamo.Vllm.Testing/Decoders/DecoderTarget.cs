namespace Dynamo.Vllm.Testing.Decoders;

/// <summary>A decoder of bytes that come from a peer.</summary>
/// <param name="Name">For people and command lines.</param>
/// <param name="Captures">What real peers sent, or what our own writer makes: where damaging begins.</param>
/// <param name="Decode">Reads the bytes, or throws a <see cref="Dynamo.Vllm.Protocol.ProtocolException"/>. Thread-safe.</param>
public sealed record DecoderTarget(string Name, IReadOnlyList<byte[]> Captures, Action<byte[]> Decode)
{
    public override string ToString() => Name;
}
