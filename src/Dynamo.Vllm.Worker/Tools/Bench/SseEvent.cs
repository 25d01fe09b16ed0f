namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>A server-sent event.</summary>
/// <param name="Name">Its <c>event</c> field; null where there is none.</param>
/// <param name="Data">Its <c>data</c> fields; of a nameless one without any nobody is told.</param>
internal readonly record struct SseEvent(string? Name, ReadOnlyMemory<byte> Data);
