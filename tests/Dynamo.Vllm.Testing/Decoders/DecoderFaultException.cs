namespace Dynamo.Vllm.Testing.Decoders;

/// <summary>A decoder did with some bytes what no decoder may do.</summary>
public sealed class DecoderFaultException(string message) : Exception(message);
