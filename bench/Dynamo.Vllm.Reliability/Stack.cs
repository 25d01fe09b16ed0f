namespace Dynamo.Vllm.Reliability;

/// <summary>Whose workers are put to the test.</summary>
internal enum Stack
{
    Ours,

    /// <summary>Ours on the simulated engine, whose answers stay the same token for token when a request moves.</summary>
    OursSimulated,

    Official,
}
