namespace Dynamo.Vllm.Protocol;

/// <summary>Bytes of a peer do not follow the wire format. The only exception that decoders throw.</summary>
/// <remarks>The message names the field, the value and the limit; it never holds prompt content.</remarks>
public sealed class ProtocolException : Exception
{
    public ProtocolException(string message)
        : base(message) { }

    public ProtocolException(string message, Exception innerException)
        : base(message, innerException) { }
}
