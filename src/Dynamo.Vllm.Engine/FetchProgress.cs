namespace Dynamo.Vllm.Engine;

/// <summary>How far the fetch of a model is.</summary>
/// <param name="FilesDone">Whole files, those of earlier fetches among them.</param>
/// <param name="Files">All that are wanted.</param>
/// <param name="BytesDone">Parts of files count.</param>
/// <param name="Bytes">Of all files.</param>
public sealed record FetchProgress(int FilesDone, int Files, long BytesDone, long Bytes);
