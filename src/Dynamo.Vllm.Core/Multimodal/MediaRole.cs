namespace Dynamo.Vllm.Core.Multimodal;

/// <summary>Whose media they are.</summary>
public enum MediaRole
{
    Aggregated,
    Prefill,
    Decode,
}
