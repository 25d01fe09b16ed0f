using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.Core.Requests;

/// <summary>The end of an accepted request.</summary>
/// <param name="Outcome">What became of it.</param>
/// <param name="Reason">Of the error that the caller was told, from the catalogue of <see cref="DynamoError"/>; empty without one.</param>
public readonly record struct RequestEnd(RequestOutcome Outcome, string Reason)
{
    public static RequestEnd Finished => new(RequestOutcome.Finished, "");

    public static RequestEnd Cancelled => new(RequestOutcome.Cancelled, "");

    public static RequestEnd Unanswered => new(RequestOutcome.Unanswered, "");

    public static RequestEnd Of(DynamoError error) =>
        new(MigratableReasons.Contains(error.Reason) ? RequestOutcome.HandedBack : RequestOutcome.Failed, error.Reason);
}
