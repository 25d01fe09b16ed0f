namespace Dynamo.Vllm.PeerTests;

/// <summary>How a streaming client and its request parted.</summary>
internal enum ClientEnd
{
    Stayed,
    LeftBeforeTheFirstToken,
    LeftWhileDecoding,
    Failed,
}
