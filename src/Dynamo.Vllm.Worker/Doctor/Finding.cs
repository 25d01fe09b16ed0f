namespace Dynamo.Vllm.Worker.Doctor;

/// <summary>One thing that was looked at.</summary>
/// <param name="Check">What it is about: <c>python</c>, <c>ports</c>.</param>
/// <param name="Severity">What it means.</param>
/// <param name="Seen">What is the case, without secrets.</param>
/// <param name="Advice">What to do about it; null where nothing is to be done.</param>
internal sealed record Finding(string Check, Severity Severity, string Seen, string? Advice);
