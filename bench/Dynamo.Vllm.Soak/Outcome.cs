namespace Dynamo.Vllm.Soak;

/// <summary>How a request ended.</summary>
internal enum Outcome
{
    /// <summary>All tokens, final item, sentinel.</summary>
    Complete,

    /// <summary>The client left, and the stream ended.</summary>
    Cancelled,

    /// <summary>The worker said no, or ended it with an error item.</summary>
    Refused,

    /// <summary>Broken by a fault that was injected on it.</summary>
    Cut,

    /// <summary>
    /// No end within the limit after a byte of it was falsified: the protocol has no check that would tell either end. Not counted as hung.
    /// </summary>
    Silenced,

    /// <summary>Broken or short without a fault that explains it.</summary>
    Unexplained,

    /// <summary>No end within the limit.</summary>
    Hung,
}
