using System.Collections;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using Dynamo.Vllm.Engine.Processes;
using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.Configuration.Parsing;
using Dynamo.Vllm.Worker.Doctor;
using Dynamo.Vllm.Worker.Hosting;

namespace Dynamo.Vllm.Worker.Tools;

/// <summary>Whether a worker with these arguments and this environment would
/// start, serve and be found here, and what to do if not.</summary>
/// <remarks>vLLM's own options are not checked: only its parser knows them, and to load it takes longer than this may.</remarks>
internal static class DoctorTool
{
    /// <returns>0 without a problem, 1 with one, 2 for arguments that cannot be read (<see cref="ExitCodes"/>).</returns>
    public static async Task<int> RunAsync(
        IReadOnlyList<string> arguments,
        bool asJson,
        TextWriter output,
        CancellationToken cancellationToken
    )
    {
        try
        {
            var report = await Examination
                .RunAsync(Checks(arguments, ReadEnvironment()), TimeProvider.System, cancellationToken)
                .ConfigureAwait(false);
            await output
                .WriteLineAsync(asJson ? JsonSerializer.Serialize(report, DoctorReportContext.Default.DoctorReport) : Text(report))
                .ConfigureAwait(false);
            return report.Problems == 0 ? ExitCodes.Success : ExitCodes.Failure;
        }
        catch (UsageException exception)
        {
            await Console.Error.WriteAsync(exception.StandardError).ConfigureAwait(false);
            return ExitCodes.Usage;
        }
        finally
        {
            ChildProcesses.KillAll(); // an interpreter or a driver's tool that hangs
        }
    }

    /// <summary>A line a finding, its severity first, so that <c>grep</c> finds them and paths can be copied.</summary>
    internal static string Text(DoctorReport report)
    {
        var lines = new List<string>();
        foreach (var finding in report.Findings)
        {
            var word = finding.Severity switch
            {
                Severity.Ok => "ok",
                Severity.Warning => "warn",
                _ => "FAIL",
            };
            lines.Add($"{word, -4}  {finding.Check, -10}  {finding.Seen}");
            if (finding.Advice is { } advice)
            {
                lines.Add($"{"", -16}  -> {advice}");
            }
        }

        lines.Add(
            string.Create(CultureInfo.InvariantCulture, $"problems: {report.Problems}, warnings: {report.Warnings}; {report.Seconds:0.0} s")
        );
        return string.Join('\n', lines);
    }

    /// <exception cref="UsageException">The arguments are malformed.</exception>
    private static IReadOnlyList<DoctorCheck> Checks(IReadOnlyList<string> arguments, IReadOnlyDictionary<string, string> environment)
    {
        DoctorCheck[] ofMachine =
        [
            new("system", LookAtSystemAsync),
            new("orphans", OrphansCheck.LookAsync),
            new("shm", MachineCheck.LookAtSharedMemoryAsync),
            new("limits", MachineCheck.LookAtLimitsAsync),
            new("memory", MachineCheck.LookAtMemoryAsync),
        ];
        WorkerSettings settings;
        try
        {
            var parsed = CommandLineParser.Parse(arguments, environment);
            settings = WorkerSettings.From(
                parsed.Arguments ?? throw new ConfigurationException("doctor takes the flags of a worker that is to serve"), // a --version
                environment
            );
        }
        catch (ConfigurationException exception)
        {
            // What does not depend on it can still be looked at.
            return [.. ofMachine, new("settings", (findings, _) => FailAsync(findings, exception.Message))];
        }

        var planes = new PlanesCheck(settings);
        var folders = new FoldersCheck(settings);
        return
        [
            .. ofMachine,
            new("settings", (findings, _) => LookAtSettingsAsync(findings, settings)),
            new("python", new PythonCheck(settings).LookAsync),
            new("gpu", new GpuCheck(settings).LookAsync),
            new("model", folders.LookAtModelAsync),
            new("space", folders.LookAtSpaceAsync),
            new("ports", new PortsCheck(settings).LookAsync),
            new("tcp", planes.LookAtTcpAsync),
            new("nats", planes.LookAtNatsAsync),
            new("discovery", new DiscoveryCheck(settings).LookAsync),
        ];
    }

    private static Task LookAtSystemAsync(Findings findings, CancellationToken cancellationToken)
    {
        findings.Ok($".NET {Environment.Version} on {RuntimeInformation.OSDescription}, {Environment.ProcessorCount} processors");
        return Task.CompletedTask;
    }

    private static Task LookAtSettingsAsync(Findings findings, WorkerSettings settings)
    {
        var planes = settings.Planes;
        findings.Ok($"discovery {planes.Discovery}, requests {planes.Request}, events {planes.Event}; vLLM's own options are not checked");
        foreach (var warning in settings.Arguments.Warnings.Concat(settings.Runtime.Warnings))
        {
            findings.Warning(warning, "see docs/configuration.md");
        }

        return Task.CompletedTask;
    }

    private static Task FailAsync(Findings findings, string problem)
    {
        findings.Problem(problem, "correct it, and run doctor again: what depends on it was not looked at");
        return Task.CompletedTask;
    }

    private static Dictionary<string, string> ReadEnvironment() =>
        Environment
            .GetEnvironmentVariables()
            .Cast<DictionaryEntry>()
            .ToDictionary(entry => (string)entry.Key, entry => (string?)entry.Value ?? "", StringComparer.Ordinal);
}
