using System.Globalization;

namespace Dynamo.Vllm.Worker.Doctor;

/// <summary>Runs all checks at once, and waits for none of them longer than its limit.</summary>
internal static class Examination
{
    /// <summary>Of one check, and so of all: the whole command is to end within 10 s, with the start of the process.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromSeconds(8);

    public static async Task<DoctorReport> RunAsync(IEnumerable<DoctorCheck> checks, TimeProvider time, CancellationToken cancellationToken)
    {
        var started = time.GetTimestamp();
        var findings = await Task.WhenAll(checks.Select(check => RunAsync(check, time, cancellationToken))).ConfigureAwait(false);
        Finding[] all = [.. findings.SelectMany(found => found)];
        return new DoctorReport(
            all.Count(finding => finding.Severity == Severity.Problem),
            all.Count(finding => finding.Severity == Severity.Warning),
            Math.Round(time.GetElapsedTime(started).TotalSeconds, 2),
            all
        );
    }

    private static async Task<IReadOnlyList<Finding>> RunAsync(DoctorCheck check, TimeProvider time, CancellationToken cancellationToken)
    {
        var findings = new Findings(check.Name);
        using var timer = new CancellationTokenSource(Limit, time);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(timer.Token, cancellationToken);
        var token = limit.Token;
        try
        {
            // A thread of its own: a file system, a driver or an interpreter that hangs must not keep the others from the pool.
            await Task
                .Factory.StartNew(
                    () => check.LookAsync(findings, token),
                    CancellationToken.None,
                    TaskCreationOptions.LongRunning,
                    TaskScheduler.Default
                )
                .Unwrap()
                .WaitAsync(token)
                .ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (timer.IsCancellationRequested)
        {
            findings.Problem(
                string.Create(CultureInfo.InvariantCulture, $"no answer within {Limit.TotalSeconds:0} s"),
                "what this check asks hangs or is very slow: a server, a file system, a driver, an interpreter"
            );
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            // Boundary mapping (style E3): whatever a check meets is a finding, and keeps no other from being looked at.
            findings.Problem($"could not be looked at: {exception.Message}", "the message names what is missing or refused");
        }

        return findings.All;
    }
}
