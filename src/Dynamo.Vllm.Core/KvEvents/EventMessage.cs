namespace Dynamo.Vllm.Core.KvEvents;

/// <summary>One message of a topic.</summary>
/// <param name="Sequence">Number within the publisher, from 0; also inside the envelope.</param>
/// <param name="Envelope">Encoded envelope: the whole message on NATS, the core of the last frame on ZMQ.</param>
public readonly record struct EventMessage(ulong Sequence, ReadOnlyMemory<byte> Envelope);
