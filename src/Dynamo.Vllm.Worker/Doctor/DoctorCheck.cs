namespace Dynamo.Vllm.Worker.Doctor;

/// <summary>One thing to look at.</summary>
/// <param name="Name">Name of its findings.</param>
/// <param name="LookAsync">Looks, and may block a thread: each check has one of its own.</param>
internal sealed record DoctorCheck(string Name, Func<Findings, CancellationToken, Task> LookAsync);
