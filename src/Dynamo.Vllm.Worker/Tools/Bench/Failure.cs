namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>Why a request failed.</summary>
/// <param name="Kind">By which failures are counted.</param>
/// <param name="Message">Of this one.</param>
internal sealed record Failure(string Kind, string Message)
{
    /// <summary>In characters; an answer of a server may be a page.</summary>
    public const int MessageLengthMax = 500;
}
