using Dynamo.Vllm.Worker.Doctor;
using Dynamo.Vllm.Worker.Tools;
using Microsoft.Extensions.Time.Testing;

namespace Dynamo.Vllm.UnitTests.Worker.Doctor;

/// <summary>All checks at once, each within its limit, whatever one of them does.</summary>
public sealed class ExaminationTests
{
    [Fact]
    public async Task A_check_that_hangs_or_throws_keeps_no_other_from_being_told()
    {
        var time = new FakeTimeProvider();
        using var hangs = new ManualResetEventSlim();
        using var begun = new CountdownEvent(3);
        DoctorCheck[] checks =
        [
            new(
                "blocked",
                (findings, _) =>
                {
                    findings.Ok("half of it");
                    begun.Signal();
                    hangs.Wait(CancellationToken.None); // as a file system does whose server is away
                    return Task.CompletedTask;
                }
            ),
            new(
                "broken",
                (_, _) =>
                {
                    begun.Signal();
                    throw new InvalidDataException("no such thing\nat all");
                }
            ),
            new(
                "fine",
                (findings, _) =>
                {
                    findings.Warning("little room", "make room");
                    begun.Signal();
                    return Task.CompletedTask;
                }
            ),
        ];

        var running = Examination.RunAsync(checks, time, CancellationToken.None);
        begun.Wait(CancellationToken.None);
        time.Advance(Examination.Limit);
        var report = await running;
        hangs.Set();

        Assert.Equal(8, report.Seconds);
        Assert.Equal((2, 1), (report.Problems, report.Warnings));
        Assert.Equal(
            """
            ok    blocked     half of it
            FAIL  blocked     no answer within 8 s
                              -> what this check asks hangs or is very slow: a server, a file system, a driver, an interpreter
            FAIL  broken      could not be looked at: no such thing at all
                              -> the message names what is missing or refused
            warn  fine        little room
                              -> make room
            problems: 2, warnings: 1; 8.0 s
            """,
            DoctorTool.Text(report)
        );
    }

    [Fact]
    public void Listeners_are_told_from_connections_in_the_kernels_table()
    {
        const string table = """
              sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
               4: 00000000:46A2 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 43538 1 0 100 0 0 10 0
              81: 0100007F:46A2 0100007F:DB24 06 00000000:00000000 03:00000934 00000000     0        0 77 3 0
               5: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0  1000   0 99 1 0
            """;

        var listeners = ProcFiles.Listeners([table]);

        Assert.Equal(["43538"], listeners[18082]);
        Assert.Equal(["99"], listeners[80]);
        Assert.Equal(2, listeners.Count);
    }
}
