namespace Dynamo.Vllm.Reliability;

/// <summary>What a client got.</summary>
internal enum ClientOutcome
{
    /// <summary>The whole answer, the same as without a fault.</summary>
    Correct,

    /// <summary>A whole answer of the right length with other words.</summary>
    Different,

    /// <summary>An error that says what it is.</summary>
    TypedError,

    /// <summary>The answer broke off without a word.</summary>
    Broken,

    /// <summary>No byte for thirty seconds.</summary>
    Hung,
}
