namespace Dynamo.Vllm.Transports.Otlp;

/// <summary>An export failed; the message says why in a few words.</summary>
public sealed class OtlpException : Exception
{
    public OtlpException(string message, Exception? inner = null)
        : base(message, inner) { }
}
