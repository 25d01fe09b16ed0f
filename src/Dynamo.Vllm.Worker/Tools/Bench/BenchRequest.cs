namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>A request that is ready to be sent.</summary>
/// <param name="Body">JSON.</param>
/// <param name="PromptLength">In tokens, or in words of a text.</param>
/// <param name="OutputLength">Tokens asked for.</param>
internal readonly record struct BenchRequest(ReadOnlyMemory<byte> Body, int PromptLength, int OutputLength);
