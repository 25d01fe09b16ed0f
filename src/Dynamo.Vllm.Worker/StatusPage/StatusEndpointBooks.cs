namespace Dynamo.Vllm.Worker.StatusPage;

/// <summary>The books of an endpoint.</summary>
internal sealed record StatusEndpointBooks(
    string Name,
    long Accepted,
    long Open,
    long Finished,
    long Failed,
    long Cancelled,
    long HandedBack,
    long Unanswered
);
