namespace Dynamo.Vllm.Testing;

/// <summary>A request, and what every engine answers to it on every drive.</summary>
/// <param name="Request">Of the frontend's form, without what all requests have.</param>
/// <param name="Tokens">How many tokens each choice has; null: as many as come before its end, which the request does not fix.</param>
/// <param name="FinishReason">How each choice ends; null: not fixed by the request.</param>
/// <param name="Choices">How many choices it has.</param>
/// <param name="Error">The type of the error that ends it instead.</param>
/// <param name="Field">A field with one entry for each token.</param>
internal sealed record ConformanceCase(
    string Request,
    int? Tokens = null,
    string? FinishReason = null,
    int Choices = 1,
    string? Error = null,
    string? Field = null
);
