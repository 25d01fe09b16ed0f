namespace Dynamo.Vllm.Core.Requests;

/// <summary>How an accepted request ended. Each ends in exactly one of them (docs/reliability.md, "The ledger").</summary>
public enum RequestOutcome
{
    /// <summary>The whole answer went out.</summary>
    Finished,

    /// <summary>The caller was told an error that is the request's own end.</summary>
    Failed,

    /// <summary>The caller was told an error on which a frontend continues the request on another worker.</summary>
    HandedBack,

    /// <summary>The caller left, or had what it wanted.</summary>
    Cancelled,

    /// <summary>The caller could not be reached, or said nowhere to answer to.</summary>
    Unanswered,
}
